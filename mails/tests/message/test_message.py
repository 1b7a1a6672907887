"""A message is the same value wherever it is: as its sender wrote it, in the database, and for the call."""

import datetime as dt
import json

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from mails.dispatch.dispatcher import Dispatcher
from mails.lifecycle import writer
from mails.lifecycle.values import MailState, NewMail
from mails.message import mime
from mails.message.message import AttachmentReference, Message, MessageRecipient
from mails.models import Content, FileContent, Mail, uuid7
from mails.states import DeliveryGuarantee, RecipientKind, Source, Status
from mails.tests.builders import HERA, IRIS, ZEUS, a_mail
from mercury.lib.database import database_clock
from providers.kinds.capabilities import Feature

PLAIN = Message(sender=ZEUS, recipients=(MessageRecipient(address=HERA),), subject="You made my day", text="Hi")
FILE = AttachmentReference(filename="crown.png", content_type="image/png", size=1000, sha256="1" * 64)
WHOLE = Message(
    sender=f"Zeus <{ZEUS}>",
    recipients=(
        MessageRecipient(address=HERA, name='Hera, "the queen"'),
        MessageRecipient(address=IRIS, kind=RecipientKind.CC, name="Ἶρις"),
        MessageRecipient(address="ares@olimpus.com", kind=RecipientKind.BCC),
    ),
    subject="Grüße",
    text="Hi",
    html="<p>Hi</p>",
    headers={"X-Longest-Name": "1", "X-B": "2", "X-A": "3"},
    attachments=(FILE,),
    tags=("welcome", "crown"),
    metadata={"order": "17"},
)


def stored(message):
    """The email of this message, as intake stores it."""
    now = database_clock.now()
    mail = Mail(
        id=uuid7(),
        created_at=now,
        expires_at=now + dt.timedelta(days=3),
        source=Source.COMMAND,
        queue="text",
        delivery_guarantee=DeliveryGuarantee.AT_LEAST_ONCE,
        **message.columns,
    )
    state = MailState(status=Status.QUEUED, next_attempt_at=now)
    for file in message.attachments:
        FileContent.objects.get_or_create(sha256=file.sha256, defaults={"size": file.size, "location": "crown"})
    writer.create([NewMail(mail=mail, message=message, state=state, events=())])
    return mail


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
MESSAGES = st.builds(
    Message,
    sender=NAMES,
    recipients=st.lists(
        st.builds(MessageRecipient, address=NAMES, kind=st.sampled_from(RecipientKind), name=NAMES), max_size=4
    ).map(tuple),
    subject=NAMES,
    text=TEXT,
    html=TEXT,
    headers=st.dictionaries(NAMES, TEXT, max_size=3),
    attachments=st.lists(
        st.builds(
            AttachmentReference,
            filename=TEXT,
            content_type=NAMES,
            size=st.integers(0, 10**9),
            sha256=st.sampled_from(["0" * 64, "1" * 64]),
            content_id=NAMES,
        ),
        max_size=2,
    ).map(tuple),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
)


@pytest.mark.django_db
@given(MESSAGES)
def test_every_message_is_read_as_it_was_stored(message):
    with transaction.atomic():  # the next one is stored even if this one is not
        mail = stored(message)

    read = mime.read_message(mail)

    assert read == message
    assert list(read.headers) == list(message.headers)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("message", [PLAIN, WHOLE])
def test_a_call_gets_the_message_that_was_stored(message, olympus):
    stored(message)

    [call] = Dispatcher(["text"], concurrency=1).claimer.claim(1).calls

    assert call.message == message
    assert call.mail.traits.size == message.size
    assert call.mail.traits.recipients == len(message.recipients)


@pytest.mark.parametrize(
    ("changes", "features"),
    [
        ({}, set()),
        ({"html": "<p>"}, {Feature.HTML}),
        ({"recipients": (MessageRecipient(address=HERA, kind=RecipientKind.CC),)}, {Feature.CC}),
        ({"recipients": (MessageRecipient(address=HERA, kind=RecipientKind.BCC),)}, {Feature.BCC}),
        ({"recipients": (MessageRecipient(address="ἥρα@olimpus.com"),)}, {Feature.SMTPUTF8}),
        ({"headers": {"X-A": "1"}}, {Feature.HEADERS}),
        ({"tags": ("welcome",)}, {Feature.TAGS}),
        ({"metadata": {"a": "1"}}, {Feature.METADATA}),
        ({"attachments": (FILE,)}, {Feature.ATTACHMENTS}),
        (
            {"attachments": (AttachmentReference(filename="", content_type="", size=0, sha256="", content_id="1"),)},
            {Feature.ATTACHMENTS, Feature.INLINE},
        ),
    ],
)
def test_what_a_message_needs_follows_from_its_parts(changes, features):
    message = Message(sender=ZEUS, subject="Grüße", text="Hi", **changes)

    assert message.traits.features == features
    assert message.traits.size == message.size


def test_the_size_counts_everything_that_is_carried():
    assert PLAIN.size == len("You made my day") + len("Hi")
    assert Message(sender=ZEUS, subject="ü", html="é").size == 4
    assert Message(sender=ZEUS, attachments=(FILE,)).size > FILE.size
    assert Message(sender=ZEUS, headers={"X-A": "y" * 500}).size > 500


def test_a_message_does_not_show_its_content_in_a_log():
    assert "crown" not in f"{WHOLE!r}"


@pytest.mark.django_db
def test_a_plain_text_email_costs_nothing_more():
    with CaptureQueriesContext(connection) as asked:
        mail = a_mail()

    inserts = [query for query in asked if "INSERT INTO mails_" in query["sql"]]
    assert len(inserts) == (1 if connection.vendor == "postgresql" else 4)
    content = Content.objects.get(mail=mail)
    assert (content.other_fields, content.html, mail.needs) == (None, "", "")


def test_a_field_of_a_newer_mercury_is_not_sent_without_it():
    with pytest.raises(ValueError, match="unknown fields: poem"):
        Message.from_stored(sender=ZEUS, recipients=(), subject="", text="", html="", other_fields={"poem": "μῆνιν"})


@pytest.mark.django_db
@pytest.mark.parametrize("stored", [{"smoke_signals": 3}, {"headers": "x"}, {"attachments": [1]}, [1]])
def test_a_page_shows_what_it_understands_of_an_email_of_another_mercury(stored):
    mail = a_mail(content="Hello")
    Content.objects.filter(mail=mail).update(other_fields=stored)

    assert mime.read_message(mail).text == "Hello"
    assert mime.read_beginning(mail, recipients=mail.recipients.all()).text == "Hello"


def test_what_is_stored_for_the_call_is_one_json_document():
    document = json.loads(json.dumps(WHOLE.other_fields))

    assert set(document) == {"headers", "attachments", "tags", "metadata"}
    assert document["headers"] == [["X-Longest-Name", "1"], ["X-B", "2"], ["X-A", "3"]]
