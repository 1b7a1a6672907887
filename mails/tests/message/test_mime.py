"""One email is the same bytes at every attempt, and to everyone who looks at it."""

import email

import pytest
from django.test import Client as Browser
from django.utils.html import escape

from mails.dispatch.dispatcher import Dispatcher
from mails.message import mime
from mails.states import Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, reloaded
from mails.tests.commandline import run
from mails.tests.people import hermes
from mercury.lib.runtime import event_loop
from providers.accounts import registration
from providers.sandbox import mailbox
from providers.tests.support.scripted_smtp import ScriptedServer

pytestmark = pytest.mark.django_db(transaction=True)

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
