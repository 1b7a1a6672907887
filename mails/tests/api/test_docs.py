"""docs/api.md names every scope, error code, field of a list and operator that the code knows."""

import re

import pytest
from django.conf import settings
from drf_spectacular.generators import SchemaGenerator

from mails.access.api_keys import SCOPES
from mails.api.fields import EVENT_FIELDS, MAIL_FIELDS
from mails.api.serializers.events import EventSerializer
from mails.api.serializers.mails import MailSerializer
from mails.api.serializers.requests import NewEventSerializer, ReprocessMailSerializer
from mails.api.serializers.rules import (
    ConditionsSerializer,
    NewRoutingRuleSerializer,
    RoutePreviewSerializer,
    RoutingRuleSerializer,
)
from mails.intake.receipts import RefusalReason
from mails.intake.submission import SubmissionSerializer
from mails.tests.tables import answer_table, filter_row, request_table
from mercury.lib.rest.filters import OPERATORS
from providers.outcomes import FailureClass

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


def list_properties(node: object) -> set[str]:
    """The names of all fields that the OpenAPI document describes."""
    if isinstance(node, dict):
        own = set(node["properties"]) if isinstance(node.get("properties"), dict) else set()
        return own.union(*map(list_properties, node.values()))
    return set().union(*map(list_properties, node)) if isinstance(node, list) else set()


def test_the_examples_name_only_fields_of_the_openapi_document():
    misspelt = {"subjet"}
    metadata = {"order", "customer"}
    lists = {"mails", "events", "providers", "rules", "queue_rules"}
    classes = set(FailureClass.values)

    named = set(re.findall(r'"(\w+)":', PAGE))

    assert (
        named - misspelt - metadata - lists - classes - list_properties(SchemaGenerator().get_schema(public=True))
        == set()
    )


@pytest.mark.parametrize("word", sorted({*SCOPES, *CODES, *RefusalReason, *OPERATORS}))
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


def test_the_fields_of_routing_rules_are_in_the_page_as_they_are_declared():
    assert request_table(NewRoutingRuleSerializer) in PAGE
    for serializer in (RoutingRuleSerializer, ConditionsSerializer, RoutePreviewSerializer):
        assert answer_table(serializer) in PAGE
