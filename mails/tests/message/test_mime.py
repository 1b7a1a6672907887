"""One email is the same bytes at every attempt, and to everyone who looks at it."""

import datetime as dt
import email
import email.policy
import uuid

import pytest
from django.test import Client as Browser
from django.utils.html import escape

from mails.dispatch.dispatcher import Dispatcher
from mails.message import mime
from mails.message.message import Message, MessageRecipient
from mails.models import Mail
from mails.states import RecipientKind, Status
from mails.tests.builders import HERA, IRIS, ZEUS, a_mail, dispatch, reloaded
from mails.tests.commandline import run
from mails.tests.people import hermes
from mercury.lib.runtime import event_loop
from providers.accounts import registration
from providers.sandbox import mailbox
from providers.tests.support.scripted_smtp import ScriptedServer
from providers.transports.mime import build_content, list_addresses

pytestmark = pytest.mark.django_db(transaction=True)

NOON = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
TEXT = "Grüße\u2028\x85\x0b\x0c\ttab \n-- \n.\nZeus" + "Å" * 600


def _source(mail):
    return mime.render_source(mail, mime.read_message(mail))


def test_each_attempt_sends_the_bytes_that_are_shown(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    server = ScriptedServer({"RCPT": [b"250 hera\r\n", b"450 4.2.1 iris is busy\r\n"]})
    for name in ("olympus", "hades"):
        options = {"host": "127.0.0.1", "port": server.port, "security": "none"}
        registration.register(name, "smtp", options, by="test")
    mail = a_mail(recipient=[HERA, IRIS], content=TEXT, subject="Grüße, Hera")

    async def scenario():
        async with server:
            return await Dispatcher(["text"], concurrency=4).run(until_idle=True)

    assert event_loop.run(scenario()) == 1

    first, second = server.received
    recipients = [line.partition(":")[2] for line in server.said if line.startswith("RCPT")]
    assert recipients == [f"<{HERA}>", f"<{IRIS}>", f"<{IRIS}>"]
    assert email.message_from_bytes(second)["To"] == f"{HERA}, {IRIS}"
    assert first == second == _source(reloaded(mail))


def test_what_is_sent_downloaded_and_printed_is_the_same(olympus):
    mail = a_mail(content=TEXT)
    dispatch()
    browser = Browser()
    browser.force_login(hermes())

    [kept] = olympus.inbox()

    sent = mailbox.read_source(olympus.name, kept.key)
    assert sent == _source(mail)
    assert browser.get(f"/mails/{mail.pk}/message.eml").content == sent
    assert run("mail", str(mail.pk), "--raw").out.encode() == sent
    page = browser.get(f"/mails/{mail.pk}").text
    assert all(escape(line) in page for line in sent.decode().splitlines())


def test_an_email_is_dated_when_it_was_accepted(olympus):
    mail = a_mail()

    assert email.utils.parsedate_to_datetime(email.message_from_bytes(_source(mail))["Date"]) == (
        mail.created_at.replace(microsecond=0)
    )


def test_two_copies_of_one_email_are_equal(olympus, hades):
    olympus.lose_answer()
    hades.lose_answer()
    mail = a_mail(content=TEXT)
    dispatch()
    copies = [mailbox.read_source(account.name, kept.key) for account in (olympus, hades) for kept in account.inbox()]

    assert len(copies) == 2
    assert set(copies) == {_source(mail)}
    assert reloaded(mail).status != Status.DONE


ARES = "ares@olimpus.com"
TO_ALL = Message(
    sender=f"Zeus <{ZEUS}>",
    recipients=(
        MessageRecipient(address=HERA, name='Hera, "the queen"'),
        MessageRecipient(address=IRIS, kind=RecipientKind.CC, name="Ἶρις"),
        MessageRecipient(address=ARES, kind=RecipientKind.BCC, name="Ares"),
    ),
    subject="Grüße",
    text="Hi",
)


def _build(message, recipients=None):
    return mime.build_message(uuid.UUID(int=7), message, accepted_at=NOON, recipients=recipients)


def _parse(built):
    return email.message_from_bytes(build_content(built), policy=email.policy.default)


def test_to_and_cc_show_what_the_sender_wrote_and_nobody_sees_a_blind_copy():
    parsed = _parse(_build(TO_ALL))

    [hera], [iris] = parsed["To"].addresses, parsed["Cc"].addresses
    assert (hera.display_name, hera.addr_spec) == ('Hera, "the queen"', HERA)
    assert (iris.display_name, iris.addr_spec) == ("Ἶρις", IRIS)
    assert "ares" not in parsed.as_string().lower()


@pytest.mark.parametrize("recipients", [[HERA], [IRIS], [ARES], [IRIS, ARES], [HERA, IRIS, ARES]])
def test_a_call_to_some_of_them_carries_the_same_bytes(recipients):
    built = _build(TO_ALL, recipients)

    assert list_addresses(built.recipients()) == recipients
    assert build_content(built) == build_content(_build(TO_ALL))


def test_html_is_sent_with_the_text():
    parsed = _parse(_build(Message(sender=ZEUS, text="Hi", html="<p>Grüße</p>")))

    assert parsed.get_content_type() == "multipart/alternative"
    assert [(part.get_content_type(), part.get_content()) for part in parsed.iter_parts()] == [
        ("text/plain", "Hi\r\n"),
        ("text/html", "<p>Grüße</p>\r\n"),
    ]


def test_html_alone_is_the_whole_email():
    parsed = _parse(_build(Message(sender=ZEUS, html="<p>Hi</p>")))

    assert (parsed.get_content_type(), parsed.get_content()) == ("text/html", "<p>Hi</p>\r\n")


def test_headers_of_the_sender_go_along_and_never_replace_those_of_mercury():
    parsed = _parse(
        _build(Message(sender=ZEUS, text="Hi", headers={"X-Order": "17", "x-mercury-id": "8", "DATE": "now"}))
    )

    assert parsed["X-Order"] == "17"
    assert parsed.get_all("X-Mercury-ID") == [str(uuid.UUID(int=7))]


def test_tags_and_metadata_are_handed_to_the_provider():
    built = _build(Message(sender=ZEUS, text="Hi", tags=("welcome",), metadata={"order": "17", "mercury_id": "8"}))

    assert built.tags == ["welcome"]
    assert built.metadata == {"order": "17", "mercury_id": str(uuid.UUID(int=7))}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Message(sender=ZEUS, recipients=TO_ALL.recipients[:1], text="Hi"), ""),
        (Message(sender=ZEUS, html="<p>", headers={"X-Order": "17"}, tags=("welcome",)), ""),
        (Message(sender=ZEUS, text="x" * 12_000_000), "This email is larger than "),
        (TO_ALL, ""),
    ],
)
def test_an_email_is_not_copied_into_a_form_that_would_drop_a_part_of_it(message, why):
    mail = Mail(status=Status.DONE, **message.columns)

    assert mime.explain_not_copyable(mail).startswith(why)
    assert bool(mime.explain_not_copyable(mail)) == bool(why)
