"""The tables of docs/providers.md and docs/providers/smtp.md, and outcomes in the words of their cells."""

import re
from pathlib import Path

from providers.outcomes import Accepted, NotAttempted, Outcome, Refused

DOCS = Path(__file__).resolve().parents[3] / "docs"


def rows(heading: str, page: str = "providers.md") -> list[list[str]]:
    """The body of the first table below the heading, cells as text."""
    section = re.split(rf"^##+ {heading}$", (DOCS / page).read_text(), flags=re.MULTILINE)[1]
    lines = [line for line in re.split(r"^##", section, flags=re.MULTILINE)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def name(cell: str) -> str:
    """The word in backticks."""
    found = re.search(r"`([^`]+)`", cell)
    assert found, cell
    return found[1]


def describe(outcome: Outcome) -> str:
    """An outcome as a cell tells it."""
    if isinstance(outcome, Accepted):
        refused = "".join(
            ", one refused permanently" if refusal.permanent else ", one to retry" for refusal in outcome.refused
        )
        return f"Accepted {outcome.status_code}{refused}"
    if isinstance(outcome, Refused):
        wait = f" {round(outcome.retry_after, -1):.0f} s" if outcome.retry_after is not None else ""
        fewer = ", fewer concurrent requests" if outcome.at_capacity else ""
        again = f", repeated in {outcome.repeat_in:.0f} s" if outcome.repeat_in is not None else ""
        return f"Refused {outcome.failure_class} `{outcome.reason_code}`{wait}{fewer}{again}"
    if isinstance(outcome, NotAttempted):
        return f"Not attempted {outcome.failure_class} `{outcome.reason_code}`"
    wait = f" {round(outcome.retry_after, -1):.0f} s" if outcome.retry_after is not None else ""
    return f"Unknown `{outcome.reason_code}`{wait}"
