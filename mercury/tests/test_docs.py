"""The documentation knows every setting, command, event, state and path, and none that does not exist."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from drf_spectacular.generators import SchemaGenerator

from mails.queues import QueueName
from mails.states import FINAL, TRANSITIONS, EventName, Status
from providers.outcomes import FailureClass

ROOT = Path(settings.BASE_DIR)
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
SOURCE = "\n".join(
    path.read_text()
    for folder in ("mercury", "mails", "providers", "chaos", "bench")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.parts
)
PRIVATE = re.compile(
    r"\b(?:house|anew|lanes?|drain(?:s|ed|ing)?|settled?|verdicts?|bulk orders?|places|poisonous|beside|whoever|meanwhile"
    r"|comes? to|came to|so many|for (?:its|their) own sake|of late|(?:is|are) told|(?:is|are) taken for|tells? of|mend(?:s|ed)?"
    r"|wish(?:es)?|in doubt|doubtful|upshot|handed in|one that|stands?|told|evidence|steer(?:s|ing)?|situations?|jumbo)\b",
    re.IGNORECASE,
)
NAMED_BY_USERS = re.compile(r"PROVIDER_|EVENT_SINK_|SUBMISSION_STREAM_|SENDGRID_|MAILGUN_")
OURS = [name for name, app in get_commands().items() if app in {"mails", "providers", "mercury"}]


def page(name: str) -> str:
    return (ROOT / name).read_text()


def own_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options that the command itself adds, and those of its words."""
    common = {option for action in BaseCommand().create_parser("", "")._actions for option in action.option_strings}
    common |= {"--json", "--dry-run", "--yes"}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, subparser in action.choices.items():
                yield word
                yield from own_options(subparser)
        yield from (option for option in action.option_strings if option.startswith("--") and option not in common)


def format_help(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The help of the command and of each of its words."""
    yield parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from format_help(subparser)


@pytest.mark.parametrize("name", sorted(settings.MERCURY_NAMES))
def test_every_setting_has_its_lines(name):
    assert f"`{name}`" in page("docs/settings.md")
    assert re.search(rf"^# {name}=", page(".env.example"), re.MULTILINE)


def test_the_example_names_no_setting_that_does_not_exist():
    named = set(re.findall(r"^# ([A-Z_]+)=", page(".env.example"), re.MULTILINE))

    assert {name for name in named - settings.MERCURY_NAMES if not NAMED_BY_USERS.match(name)} == set()


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_and_option_has_its_line(name):
    command = load_command_class(get_commands()[name], name)
    [line] = re.findall(rf"^\| `{name}` \|.*$", page("docs/operations.md"), re.MULTILINE)

    missing = [option for option in own_options(command.create_parser("manage.py", name)) if option not in line]

    assert missing == []


@pytest.mark.parametrize("word", [*EventName.values, *Status.values])
def test_every_event_and_state_is_in_the_api_page(word):
    assert f"`{word}`" in page("docs/api.md")


def test_every_path_is_in_the_api_page():
    paths = [re.sub(r"\{\w+\}", "{}", path) for path in SchemaGenerator().get_schema(public=True)["paths"]]
    text = re.sub(r"\{\w+\}", "{}", page("docs/api.md"))

    assert [path for path in paths if path.removesuffix("/") not in text] == []


@pytest.mark.parametrize("failure_class", FailureClass.values)
def test_every_failure_class_is_in_the_providers_page(failure_class):
    assert failure_class in page("docs/providers.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_only_commands_targets_and_pages_that_exist(path):
    text = path.read_text()
    targets = re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE)

    commands = set(re.findall(r"manage\.py ([a-z]+)", text))
    made = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", text, re.MULTILINE))
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]

    assert commands - set(get_commands()) == set()
    assert {first or second for first, second in made} - set(targets) == set()
    assert [link for link in links if not (path.parent / link).exists()] == []


def rows_of(name: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading of a page, without its head."""
    [section] = re.findall(rf"^## {heading}$\n(.*?)(?=^## |\Z)", page(name), re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_of_states_lists_each_state_and_which_are_final():
    states = {row[0].strip("`"): row for row in rows_of("docs/lifecycle.md", "States")}
    drawn = re.findall(r'class="bold">(\w+)<', page("docs/pictures/lifecycle.svg"))

    assert set(states) == set(Status.values)
    assert set(drawn) == {*Status.values, "submission"}
    assert {state for state, row in states.items() if row[3].startswith("yes")} == set(FINAL)
    assert [state for state, row in states.items() if not row[1].startswith(Status(state).label)] == []


def test_the_page_of_states_lists_each_transition():
    listed = [(row[0].strip("`"), row[1].strip("`")) for row in rows_of("docs/lifecycle.md", "Transitions")]

    assert sorted(listed) == sorted((before, after) for before, afters in TRANSITIONS.items() for after in afters)


def test_the_glossary_explains_each_state_queue_and_failure_class():
    text = page("docs/glossary.md")

    assert [word for word in [*Status.values, *QueueName.values, *FailureClass.values] if f"`{word}`" not in text] == []


def test_the_glossary_explains_no_term_twice():
    terms = [
        row[0]
        for heading in ("Email", "Sending", "Control", "Operation")
        for row in rows_of("docs/glossary.md", heading)
    ]

    assert len(terms) == len(set(terms))
    assert min(len(row) for heading in ("Email", "Sending") for row in rows_of("docs/glossary.md", heading)) == 2


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_uses_the_words_of_the_glossary(path):
    text = re.sub(r"`[^`]*`|^(?: {4}|```[\s\S]*?```).*$|\]\([^)]*\)", "", path.read_text(), flags=re.MULTILINE)

    assert PRIVATE.findall(text) == []


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_a_page_names_only_modules_and_folders_that_exist(path):
    text = path.read_text()
    paths = re.findall(
        r"(?<![\w./-])((?:mercury|mails|providers|chaos|bench|templates|static|\.ci)/[\w./-]*\b/?)", text
    )
    loggers = re.findall(r'"logger": "([\w.]+)"', text)
    named = {*paths, *(name.replace(".", "/") for name in loggers)} - {"mails/s", "mails/day"}  # two units of bench/

    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()] == []


def test_the_page_of_architecture_names_each_package():
    packages = {
        path.parent.relative_to(ROOT)
        for app in ("mercury", "mails", "providers")
        for path in (ROOT / app).glob("*/__init__.py")
        if path.parent.name not in {"migrations", "templatetags", "tests"}
    }
    text = page("docs/architecture.md")

    assert [str(package) for package in packages if f"`{package}/" not in text] == []


def test_the_page_of_architecture_names_modules_that_exist():
    packages, journeys = page("docs/architecture.md").split("## Processes")[0].split("## The path of an email")
    rows = re.findall(r"^\| `([a-z_/]+)/` \| (.*) \|$", packages, re.MULTILINE)
    named = [f"{package}/{word}" for package, text in rows for word in re.findall(r"`([a-z_]+)/?`", text)]
    steps = re.findall(r"^ *→ ([a-z_/, ]+?)(?:  |$| [^a-z])", journeys.split("**Dispatch.**")[1], re.MULTILINE)
    words = {word for step in steps for word in step.split(", ")} - {"outcome"}
    named += [word if word.startswith(("mails/", "providers/")) else f"mails/dispatch/{word}" for word in words]

    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()] == []


SHOWN = [
    path
    for folder, endings in (("templates", {".html", ".txt"}), ("static/mercury", {".js", ".css"}))
    for path in (ROOT / folder).rglob("*")
    if path.suffix in endings
]


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_templates_scripts_and_styles_use_the_words_of_the_glossary(path):
    assert PRIVATE.findall(path.read_text()) == []


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_help_of_a_command_uses_the_words_of_the_glossary(name):
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)

    assert PRIVATE.findall(" ".join(format_help(parser))) == []


def test_the_api_document_uses_the_words_of_the_glossary():
    assert PRIVATE.findall(json.dumps(SchemaGenerator().get_schema(public=True), default=str)) == []


def test_the_page_of_operations_names_only_log_events_that_exist():
    text = page("docs/operations.md")
    named = re.findall(r"`([a-z_]+_(?:failed|jumped|locked|dropped|exceeded|refused|minute))`", text)
    shown = re.findall(r'"event": "(\w+)"', text)

    assert {event for event in (*named, *shown) if f'"{event}"' not in SOURCE} == set()


def test_the_page_of_operations_lists_each_metric_and_no_other():
    source = page("mercury/observability/metrics.py") + page("mercury/observability/stream_metrics.py")
    source = source.replace("_counter(", "CounterMetricFamily(")
    counters = {f"{name}_total" for name in re.findall(r'CounterMetricFamily\(\s*"(mercury_\w+)"', source)}
    others = set(
        re.findall(
            r'(?<!CounterMetricFamily\()"(mercury_\w+)"',
            re.sub(r"CounterMetricFamily\(\s*", "CounterMetricFamily(", source),
        )
    )
    [listed] = re.findall(r"^\| metric \|.*?\n\n", page("docs/operations.md"), re.MULTILINE | re.DOTALL)

    assert set(re.findall(r"`(mercury_\w+)`", listed)) == counters | others


def test_the_pictures_of_the_readme_are_there_and_small():
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', page("README.md"))

    assert len(pictures) == 4
    assert [name for name in pictures if (ROOT / name).stat().st_size > 150_000] == []


def test_every_link_to_a_section_leads_to_one():
    sections = {
        path.name: {
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
        }
        for path in PAGES
    }
    links = [
        (path.name, target or path.name, section)
        for path in PAGES
        for target, section in re.findall(r"\]\((?:docs/)?([\w.-]*)#([\w-]+)\)", path.read_text())
    ]

    assert [link for link in links if link[2] not in sections[link[1]]] == []


def test_the_table_of_the_scaling_page_is_what_its_command_prints():
    [(command, shown)] = re.findall(
        r"^\$ python (bench/scaling\.py .*)\n((?:.+\n)+?)```", page("docs/scaling.md"), re.MULTILINE
    )

    printed = subprocess.run([sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=True)

    assert printed.stdout == shown


def test_every_curl_line_works_with_curl_7_68():
    """`curl --json` came with 7.82; Ubuntu 20.04 has 7.68."""
    shown = [*PAGES, *(ROOT / "templates").rglob("*.html"), *(ROOT / "mails").rglob("*.py")]

    newer = [str(path) for path in shown if re.search(r"(<b>)?--json(</b>)? ?(<i>)?['\"]\{", path.read_text())]

    assert not newer
