"""docs/api.md names every scope, error code, field of a list and operator that the code knows."""

import re

import pytest
from django.conf import settings

from mails.access.api_keys import SCOPES
from mails.api.fields import EVENT_FIELDS, MAIL_FIELDS
from mails.api.serializers.events import EventSerializer
from mails.api.serializers.mails import MailSerializer
from mails.api.serializers.requests import NewEventSerializer, ReprocessMailSerializer
from mails.intake.submission import SubmissionSerializer
from mails.tests.tables import answer_table, filter_row, request_table
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


@pytest.mark.parametrize("serializer", [SubmissionSerializer, NewEventSerializer, ReprocessMailSerializer])
def test_the_fields_of_a_request_are_in_the_page_as_they_are_declared(serializer):
    assert request_table(serializer) in PAGE


@pytest.mark.parametrize("serializer", [MailSerializer, EventSerializer])
def test_the_fields_of_an_answer_are_in_the_page_as_they_are_declared(serializer):
    assert answer_table(serializer) in PAGE


@pytest.mark.parametrize(("name", "fields"), [("emails", MAIL_FIELDS), ("events", EVENT_FIELDS)])
def test_every_field_of_a_list_is_in_the_page(name, fields):
    assert filter_row(name, fields) in PAGE
