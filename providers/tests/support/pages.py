"""The pages of docs/providers: what each has to say of its kind, as the kind declares it."""

import re
from pathlib import Path

from providers.kinds.base import Option, ProviderKind

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "providers"


def get_page(kind: ProviderKind) -> Path:
    return FOLDER / f"{kind.key}.md"


def build_options_table(kind: ProviderKind) -> str:
    """Return the table of the kind's options; nothing if it has none."""
    if not kind.options:
        return ""
    return "\n".join(["| option | | meaning |", "|---|---|---|", *map(_build_row, kind.options)])


def _build_row(option: Option) -> str:
    need = ("required" if option.required else "optional") + (", secret" if option.secret else "")
    meaning = f"{option.label}. {option.help}".strip()
    if option.choices:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in option.choices)}."
    if option.default is not None:
        meaning += f" Default: `{option.default}`."
    return f"| `{option.name}` | {need} | {meaning} |"


def build_capabilities_list(kind: ProviderKind) -> str:
    """Return what the kind can and cannot do, as two lists."""
    can, cannot = (
        "\n".join(f"- {ability}" for ability in abilities)
        for abilities in (kind.capabilities.can, kind.capabilities.cannot)
    )
    return f"An account of this kind can\n{can}\n\nand cannot\n{cannot}"


def list_answers(kind: ProviderKind) -> list[tuple[int, str, str]]:
    """Return status, body and outcome of each line of the page's table of answers."""
    rows = re.findall(r"^\| (\d{3}) \| (.*?) ?\| (.*) \|$", get_page(kind).read_text(), re.MULTILINE)
    return [(int(status), body.strip("`"), outcome) for status, body, outcome in rows]
