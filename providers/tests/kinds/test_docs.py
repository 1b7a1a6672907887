"""Each kind has a module, a test and a page, and the page says what the module declares."""

from pathlib import Path

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.base import Transport
from providers.kinds.catalog import KINDS
from providers.tests.support import accounts, pages, tables
from providers.tests.support.scripted_api import ScriptedApi

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = [
    (kind, *answer)
    for kind in KINDS.values()
    if kind.transport is Transport.HTTP
    for answer in pages.list_answers(kind)
]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_kind_has_its_module_test_and_page(kind):
    assert (ROOT / "kinds" / f"{kind.key}.py").exists()
    assert (ROOT / "tests" / "kinds" / f"test_{kind.key}.py").exists()
    assert pages.get_page(kind).read_text().startswith(f"# {kind.label}\n")


def test_each_page_is_of_a_kind():
    assert {page.stem for page in pages.FOLDER.glob("*.md")} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_page_has_each_url_variable_and_region(kind):
    text = pages.get_page(kind).read_text()

    assert [scheme for scheme in kind.schemes if f"={scheme}://" not in text] == []
    assert [name for name in [*kind.variables, *kind.regions] if f"`{name}`" not in text] == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_page_has_the_options_and_capabilities_as_they_are_declared(kind):
    text = pages.get_page(kind).read_text()

    assert pages.build_options_table(kind) in text
    assert f"## Capabilities\n{pages.build_capabilities_list(kind)}\n" in text


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS.values() if kind.transport is Transport.HTTP], ids=lambda kind: kind.key
)
def test_the_page_of_an_http_provider_has_answers_of_each_sort(kind):
    outcomes = [outcome for _, _, outcome in pages.list_answers(kind)]

    for sort in ("Accepted", "Refused message", "Refused account", "Refused rate", "Unknown"):
        assert any(outcome.startswith(sort) for outcome in outcomes), sort


@pytest.mark.parametrize(
    ("kind", "status", "body", "expected"),
    ANSWERS,
    ids=[f"{kind.key}-{status}-{body[:40]}" for kind, status, body, _ in ANSWERS],
)
def test_answers_become_what_the_page_says(kind, status, body, expected, settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(status, body) as api:
            return await api.send(kind, accounts.mail(body="You made my day"))

    assert tables.describe(event_loop.run(scenario())) == expected
