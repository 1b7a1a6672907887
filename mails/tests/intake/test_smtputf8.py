"""Addresses with letters beyond ASCII before the @ go through accounts that can carry them, or are refused at once."""

import email
import email.policy

import pytest

from mails.dispatch.dispatcher import Dispatcher
from mails.intake.receipts import Refused, Stored
from mails.message import mime
from mails.models import Mail
from mails.states import Status
from mails.tests.builders import API, HELLO, HERA, ZEUS, event_names, reloaded, submit
from mercury.lib.mail import preview
from mercury.lib.runtime import event_loop
from providers.accounts import registration
from providers.models import Account
from providers.sandbox import mailbox
from providers.tests.support.scripted_smtp import ScriptedServer

pytestmark = pytest.mark.django_db(transaction=True)
HERA_IN_GREEK = "ἥρα@olimpus.com"
UTF8 = b"250-olympus.test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
MAILGUN = {"sender_domain": "olimpus.com", "api_key": "key-1"}


def source_of(mail):
    return mime.render_source(mail, mime.read_message(mail))


def an_smtp_account(name, server):
    registration.register(name, "smtp", {"host": "127.0.0.1", "port": server.port, "security": "none"}, by="test")


def run_with(servers):
    async def scenario():
        for server in servers:
            await server.__aenter__()
        try:
            return await Dispatcher(["text"], concurrency=4).run(until_idle=True)
        finally:
            for server in servers:
                await server.__aexit__()

    return event_loop.run(scenario())


def test_the_headers_have_the_address_in_utf_8(olympus):
    to = [{"email": HERA_IN_GREEK, "name": "Ἥρα"}, "xἥρα@olimpus.com", HERA]
    receipt = submit({**HELLO, "recipient": to, "reply_to": HERA_IN_GREEK, "sender": "Ζεύς <ζεύς@olimpus.com>"})

    source = source_of(receipt.mail)
    parsed = email.message_from_string(source.decode(), policy=email.policy.SMTPUTF8)

    assert [address.addr_spec for address in parsed["To"].addresses] == [HERA_IN_GREEK, "xἥρα@olimpus.com", HERA]
    assert parsed["To"].addresses[0].display_name == "Ἥρα"
    assert parsed["Reply-To"].addresses[0].addr_spec == HERA_IN_GREEK
    assert parsed["From"].addresses[0].addr_spec == "ζεύς@olimpus.com"
    assert b"utf8.invalid" not in source
    assert ("Reply-To", HERA_IN_GREEK) in preview.read(source).headers
    assert source == source_of(receipt.mail)


def test_a_sandbox_keeps_it_as_it_is_sent(olympus):
    mail = submit({**HELLO, "recipient": HERA_IN_GREEK}).mail
    assert Mail.objects.get().needs == "smtputf8"

    run_with([])

    [kept] = olympus.inbox()
    assert mailbox.read_source(olympus.name, kept.key) == source_of(mail)


def test_a_server_without_smtputf8_is_passed_over(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    without, able = ScriptedServer(), ScriptedServer({"EHLO": UTF8})
    an_smtp_account("hades", without)
    an_smtp_account("olympus", able)
    Account.objects.filter(name="hades").update(weight=100)
    mails = [submit({**HELLO, "recipient": HERA_IN_GREEK}).mail for _ in range(4)]

    run_with([without, able])

    assert [reloaded(mail).status for mail in mails] == [Status.DONE] * 4
    assert "MAIL" not in without.verbs()
    assert without.verbs().count("EHLO") >= 1
    said = [line.encode("latin-1").decode() for line in able.said]
    assert f"MAIL FROM:<{ZEUS}> BODY=8BITMIME SMTPUTF8" in said
    assert f"RCPT TO:<{HERA_IN_GREEK}>" in said
    assert all(HERA_IN_GREEK.encode() in content for content in able.received)


def test_the_next_email_of_a_connection_is_ascii_again(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    server = ScriptedServer({"EHLO": UTF8})
    an_smtp_account("olympus", server)
    for recipient in (HERA_IN_GREEK, HERA):
        submit({**HELLO, "recipient": recipient})

    run_with([server])

    assert sorted(line for line in server.said if line.startswith("MAIL")) == [
        f"MAIL FROM:<{ZEUS}>",
        f"MAIL FROM:<{ZEUS}> BODY=8BITMIME SMTPUTF8",
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"recipient": HERA_IN_GREEK}, "recipient"),
        ({"cc": HERA_IN_GREEK}, "cc"),
        ({"bcc": [HERA_IN_GREEK]}, "bcc"),
        ({"reply_to": HERA_IN_GREEK}, "reply_to"),
        ({"sender": "ζεύς@olimpus.com"}, "sender"),
    ],
)
def test_without_any_account_that_can_it_is_refused_at_intake(fields, field):
    registration.register("hades", "mailgun", MAILGUN, by="test")

    receipt = submit({**HELLO, **fields})

    assert isinstance(receipt, Refused)
    assert [(error.field, error.code) for error in receipt.errors] == [(field, "smtputf8")]
    assert "no account can carry such addresses" in receipt.errors[0].detail
    assert not Mail.objects.exists()


def test_such_an_email_of_an_application_is_kept_as_rejected():
    registration.register("hades", "mailgun", MAILGUN, by="test")

    receipt = submit({**HELLO, "recipient": HERA_IN_GREEK}, client=API)

    kept = Mail.objects.get(pk=receipt.mail_id)
    assert (kept.status, kept.recipient, event_names(kept)) == (Status.REJECTED, HERA_IN_GREEK, ["NEW", "BAD REQUEST"])


def test_ascii_addresses_need_no_such_account():
    registration.register("hades", "mailgun", MAILGUN, by="test")

    assert isinstance(submit({**HELLO, "sender": f"Ζεύς <{ZEUS}>", "recipient": "hera@ὄλυμπος.gr"}), Stored)
    assert Mail.objects.get().recipient.startswith("hera@xn--")
