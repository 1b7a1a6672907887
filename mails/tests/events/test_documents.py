"""The documents of docs/ describe the events as they are published."""

import json
import re
import uuid
from pathlib import Path

import jsonschema
import pytest
from django.conf import settings

from mails.events import cloud_events
from mails.events.outbox import OutboxEvent, read
from mails.models import Event
from mails.tests.builders import a_mail, dispatch

SCHEMA = json.loads((Path(settings.BASE_DIR) / "docs" / "events.schema.json").read_text())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("addresses", [True, False])
def test_the_schema_describes_every_event_of_an_email(olympus, addresses):
    mail = a_mail()
    dispatch()
    Event.objects.create(mail=mail, created_at=1, created_by="key:x", event="seen", blob="no JSON")
    events = read(0, Event.objects.latest("pk").pk, limit=100)

    documents = [json.loads(cloud_events.build(e, source="/mercury", addresses=addresses).encode()) for e in events]

    assert len(documents) >= 7
    for document in documents:
        jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
        assert document["data"].keys() <= SCHEMA["properties"]["data"]["properties"].keys()


def test_the_schema_allows_every_type():
    pattern = re.compile(SCHEMA["properties"]["type"]["pattern"])

    assert [name for name in cloud_events.TYPES if not pattern.search(name)] == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"to": ["hera@olimpus.com"]}', '{"to": ["***@olimpus.com"]}'),
        ("550 5.1.1 <hera@olimpus.com>: unknown", "550 5.1.1 <***@olimpus.com>: unknown"),
        ("https://x.example/u?a=hera%40olimpus.com", "https:***%40olimpus.com"),
        (r'{"to": "\"the queen\"@olimpus.com"}', '{"to": "***@olimpus.com"}'),
        ("ἥρα@ὄλυμπος.gr", "***@ὄλυμπος.gr"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_addresses_are_masked_wherever_they_stand(text, masked):
    assert cloud_events.mask_addresses(text) == masked


def test_a_very_long_blob_is_left_out():
    event = OutboxEvent(1, uuid.uuid4(), 1, "key:x", "seen", '"' + "x" * 50_000 + '"', "", "", "", "", "")

    assert json.loads(cloud_events.build(event, source="/mercury", addresses=False).data)["details"] is None
