"""The API's own description, held against the API: requests made from it get no 500, and answers as it says."""

import contextlib
import functools
import re

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode, checks

from mails.api.viewsets import tus
from mails.tests.callers import HELLO, MAILS, caller
from mails.tests.events.webhook_builders import a_webhook

pytestmark = pytest.mark.django_db
SCHEMA = "/api/v1.0/schema?format=json"
schemathesis.serializer.alias(tus.MEDIA_TYPE, "application/octet-stream")


@pytest.fixture
def document(client):
    return client.get(SCHEMA).json()


def list_sentences(value):
    """Every summary and description in a part of the document."""
    match value:
        case dict():
            for name, inner in value.items():
                if name in ("summary", "description") and isinstance(inner, str):
                    yield inner
                yield from list_sentences(inner)
        case list():
            for inner in value:
                yield from list_sentences(inner)


def test_sentences_say_email_and_name_no_module(document):
    wrong = re.compile(r"\b[Aa] mail\b|\bmails\b(?![/:_.])|`(?:mails|providers|mercury)\.(?!test)")
    sentences = list(list_sentences(document))

    assert len(sentences) > 500
    assert [sentence for sentence in sentences if wrong.search(re.sub(r"\S*/\S*", "", sentence))] == []


def test_the_schema_names_every_path_and_method(document):
    described = {(path, method) for path, found in document["paths"].items() for method in found}

    base = "/api/v1.0"
    assert described == {
        (f"{base}/", "get"),
        (f"{base}/mails/", "get"),
        (f"{base}/mails/", "post"),
        (f"{base}/mails/batch", "post"),
        (f"{base}/mails/{{mail_id}}", "get"),
        *(
            (f"{base}/mails/{{mail_id}}/{verb}", "post")
            for verb in ("cancel", "hold", "release", "reprocess", "reschedule", "resolve", "copy")
        ),
        (f"{base}/mails/{{mail_id}}/files/{{number}}", "get"),
        (f"{base}/mails/{{mail_id}}/events/", "get"),
        (f"{base}/mails/{{mail_id}}/events/", "post"),
        (f"{base}/mails/{{mail_id}}/events/{{event_id}}", "get"),
        (f"{base}/events/", "get"),
        (f"{base}/files/", "get"),
        (f"{base}/files/", "post"),
        (f"{base}/files/{{file_id}}", "get"),
        (f"{base}/files/{{file_id}}", "patch"),
        (f"{base}/files/{{file_id}}", "delete"),
        (f"{base}/links/", "get"),
        (f"{base}/links/{{link_id}}", "get"),
        (f"{base}/links/{{link_id}}/revoke", "post"),
        (f"{base}/suppressions/", "get"),
        (f"{base}/suppressions/", "post"),
        (f"{base}/suppressions/check", "get"),
        (f"{base}/suppressions/export", "get"),
        (f"{base}/suppressions/import", "post"),
        (f"{base}/suppressions/{{suppression_id}}", "get"),
        (f"{base}/suppressions/{{suppression_id}}", "delete"),
        (f"{base}/webhooks/", "get"),
        (f"{base}/webhooks/", "post"),
        *((f"{base}/webhooks/{{webhook_id}}", method) for method in ("get", "patch", "delete")),
        *(
            (f"{base}/webhooks/{{webhook_id}}/{verb}", "post")
            for verb in ("test", "rotate-secret", "enable", "disable", "redeliver")
        ),
        (f"{base}/webhooks/{{webhook_id}}/deliveries/", "get"),
        (f"{base}/webhooks/{{webhook_id}}/deliveries/{{delivery_id}}", "get"),
        (f"{base}/webhooks/{{webhook_id}}/deliveries/{{delivery_id}}/redeliver", "post"),
        (f"{base}/dispatcher/providers/", "get"),
        (f"{base}/dispatcher/providers/", "post"),
        (f"{base}/dispatcher/providers/{{account_id}}", "get"),
        (f"{base}/dispatcher/providers/{{account_id}}", "put"),
        (f"{base}/dispatcher/providers/{{account_id}}", "delete"),
        (f"{base}/dispatcher/providers/{{account_id}}/open", "post"),
        (f"{base}/dispatcher/queue-rules/", "get"),
        (f"{base}/dispatcher/queue-rules/", "post"),
        (f"{base}/dispatcher/queue-rules/{{queue_rule_id}}", "get"),
        (f"{base}/dispatcher/queue-rules/{{queue_rule_id}}", "put"),
        (f"{base}/dispatcher/queue-rules/{{queue_rule_id}}", "delete"),
        (f"{base}/dispatcher/rules/", "get"),
        (f"{base}/dispatcher/rules/", "post"),
        (f"{base}/dispatcher/rules/{{rule_id}}", "get"),
        (f"{base}/dispatcher/rules/{{rule_id}}", "put"),
        (f"{base}/dispatcher/rules/{{rule_id}}", "delete"),
        (f"{base}/dispatcher/preview", "post"),
        *(
            (f"{base}/stats/{name}", "get")
            for name in ("now", "queues", "applications", "providers", "series", "breakers")
        ),
    }


def test_the_schema_is_openapi_3_1_and_its_components_are_json_schema(document):
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_every_operation_states_its_errors(document):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert {"401", "403", "503"} <= set(operation["responses"]) or path == "/api/v1.0/"
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"]


def test_the_rate_of_a_key_is_described_where_emails_are_submitted(document):
    answers = document["paths"][MAILS]["post"]["responses"]

    assert {"RateLimit", "RateLimit-Policy"} <= set(answers["202"]["headers"])
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(answers["429"]["headers"])
    zeus = caller("hermes", rate="1/m")
    Draft202012Validator({"$ref": "#/components/schemas/Problem", "components": document["components"]}).validate(
        [zeus.post(MAILS, HELLO) for _ in range(2)][1].json()
    )


def test_real_answers_match_the_schema(document):
    zeus = caller()
    mail = zeus.post(MAILS, HELLO).json()
    event = zeus.post(mail["events"], {"event": "READ"}).json()
    page = zeus.get(MAILS + "?expand=true").json()
    refused = zeus.post(MAILS, {}).json()

    for name, answer in (
        ("AcceptedMail", mail),
        ("Mail", zeus.get(mail["url"]).json()),
        ("Event", event),
        ("PageOfMails", page),
        ("PageOfMails", zeus.get(MAILS).json()),
        ("PageOfEvents", zeus.get(mail["events"] + "?expand=true").json()),
        ("PageOfFeed", zeus.get("/api/v1.0/events/").json()),
        ("Problem", refused),
        ("Root", zeus.get("/api/v1.0/").json()),
    ):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(answer)
        described = document["components"]["schemas"][name]["properties"]
        assert set(answer) <= set(described), name


ANSWERS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


OPERATIONS = [
    "GET /api/v1.0/mails/",
    "POST /api/v1.0/mails/",
    "POST /api/v1.0/mails/batch",
    "GET /api/v1.0/mails/{mail_id}",
    "POST /api/v1.0/mails/{mail_id}/reprocess",
    "POST /api/v1.0/mails/{mail_id}/copy",
    "POST /api/v1.0/files/",
    "PATCH /api/v1.0/files/{file_id}",
    "GET /api/v1.0/mails/{mail_id}/events/",
    "POST /api/v1.0/mails/{mail_id}/events/",
    "GET /api/v1.0/mails/{mail_id}/events/{event_id}",
    "GET /api/v1.0/events/",
    "PATCH /api/v1.0/webhooks/{webhook_id}",
    "GET /api/v1.0/webhooks/{webhook_id}/deliveries/",
    "POST /api/v1.0/webhooks/{webhook_id}/redeliver",
    "GET /api/v1.0/dispatcher/providers/",
    "POST /api/v1.0/dispatcher/providers/",
    "GET /api/v1.0/dispatcher/providers/{account_id}",
    "PUT /api/v1.0/dispatcher/providers/{account_id}",
    "DELETE /api/v1.0/dispatcher/providers/{account_id}",
]


@contextlib.contextmanager
def one_connection():
    """What Django's own test client does: no request closes the connection that holds the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@functools.cache
def described():
    """The description as schemathesis reads it: once, because to write it takes longer than to ask what it describes."""
    return schemathesis.openapi.from_wsgi(SCHEMA, get_wsgi_application())


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("label", OPERATIONS)
def test_requests_made_from_the_schema_get_answers_that_match_it(label, mode, olympus):
    zeus = caller()
    mail = zeus.post(MAILS, HELLO).json()
    event = zeus.get(mail["events"]).json()["events"][0].rpartition("/")[2]
    webhook = a_webhook(zeus.key)
    begun = {"Tus-Resumable": "1.0.0", "Upload-Length": "9"}
    file = zeus.post("/api/v1.0/files/", b"", content_type="application/octet-stream", headers=begun).json()
    real = {
        "webhook_id": str(webhook.pk),
        "mail_id": mail["id"],
        "event_id": event,
        "account_id": str(olympus.account.pk),
        "file_id": file["id"],
    }

    with one_connection():
        (operation,) = (found.ok() for found in described().get_all_operations() if found.ok().label == label)

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
        def ask(case, known):
            if known:  # else nearly every request would end at the 404
                case.path_parameters.update({name: real[name] for name in case.path_parameters})
            case.call_and_validate(headers={"Authorization": f"Bearer {zeus.text}"}, checks=ANSWERS)

        ask()
