"""docs/api.md names every scope, error code, field of a list and operator that the code knows."""

import re

import pytest
from django.conf import settings

from mails.access.api_keys import SCOPES
from mails.api.fields import EVENT_FIELDS, MAIL_FIELDS
from mercury.lib.rest.filters import OPERATORS

PAGE = (settings.BASE_DIR / "docs" / "api.md").read_text()
SOURCES = [
    path for app in ("mails", "mercury", "providers") for path in (settings.BASE_DIR / app).rglob("*.py")
    if "tests" not in path.parts
]  # fmt: skip
CODES = {
    code
    for path in SOURCES
    for code in re.findall(r"(?:Problem\(\s*\d{3},\s*|NotStrictJSON\(\s*)\"([a-z_0-9]+)\"", path.read_text())
}


@pytest.mark.parametrize("word", sorted({*SCOPES, *CODES, *OPERATORS}))
def test_every_scope_code_and_operator_is_in_the_page(word):
    assert f"`{word}`" in PAGE


@pytest.mark.parametrize("fields", [MAIL_FIELDS, EVENT_FIELDS])
def test_every_field_of_a_list_is_in_the_page(fields):
    assert [name for name in fields if f"`{name}`" not in PAGE] == []
