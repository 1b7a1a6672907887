"""A reply counts only for the command that it belongs to, against a server that is out of step."""

import pytest

from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted, Refused, Unknown
from providers.tests.support import accounts, tables
from providers.tests.support.scripted_smtp import ScriptedServer
from providers.transports.sender import Sender

OUT_OF_STEP = "Refused provider `smtp-out-of-step`"
LOGIN = {"username": "zeus", "password": "thunderbolt"}


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


def _send(script, *, to=("hera@olimpus.com",), **options):
    """The outcome of one send, and the server."""

    async def scenario():
        async with ScriptedServer(script) as server:
            account = accounts.smtp(server.port, **options)
            return await accounts.send(account, accounts.mail(to=list(to)), deadline=2.0), server

    return event_loop.run(scenario())


def _send_twice(script, *, between=b"", **options):
    """The outcomes of two sends of one sender, which keeps its connection, and the server."""

    async def scenario():
        async with ScriptedServer(script) as server, Sender(deadline=2, connect_timeout=1, concurrency=1) as sender:
            account = accounts.smtp(server.port, **options)
            first = await sender.send(account, accounts.mail())
            server.say(between)
            second = await sender.send(account, accounts.mail(to=["iris@olimpus.com"]))
            return first, second, server

    return event_loop.run(scenario())


@pytest.mark.parametrize("reply", [b"250 OK\r\n", b"220 OK\r\n", b"334 \r\n", b"Hello\r\n", b"999 OK\r\n", b"\r\n"])
def test_nothing_but_354_lets_the_content_out(reply):
    outcome, server = _send({"DATA": reply})

    assert tables.describe(outcome) == OUT_OF_STEP
    assert server.received == []
    assert server.verbs()[-1] == "DATA"


@pytest.mark.parametrize(
    ("verb", "replies"),
    [
        ("GREETING", b"220 hello\r\n250 ready\r\n"),
        ("GREETING", b"250 hello\r\n"),
        ("EHLO", b"250 olympus.test\r\n250 sender ok\r\n"),
        ("EHLO", b"220 hello\r\n"),
        ("MAIL", b"250 sender ok\r\n250 recipient ok\r\n354 go ahead\r\n"),
        ("MAIL", b"354 go ahead\r\n"),
        ("MAIL", b"220 hello\r\n"),
        ("RCPT", b"250 recipient ok\r\n250 recipient ok\r\n"),
        ("RCPT", b"354 go ahead\r\n"),
        ("RCPT", b"250-one\r\n550 two\r\n"),
        ("RCPT", b"2500 OK\r\n"),
        ("DATA", b"354 go ahead\r\n250 queued\r\n"),
        ("DATA", b"250-queued\r\n354 go ahead\r\n"),
    ],
)
def test_a_reply_too_many_or_of_the_wrong_kind_before_the_dot_is_a_refusal(verb, replies):
    outcome, server = _send({verb: replies})

    assert tables.describe(outcome) == OUT_OF_STEP
    assert server.received == []


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_a_refusal_that_was_meant_for_another_command_is_not_the_messages(verb):
    """The surplus reply comes late, so that it is read as the next command's, and a 550 as DATA's."""
    replies = {"MAIL": b"250 sender ok\r\n", "RCPT": b"250 recipient ok\r\n"}

    outcome, _ = _send(replies | {"DATA": b"550 5.1.1 no such user\r\n354 go ahead\r\n"})

    assert tables.describe(outcome) == OUT_OF_STEP


def test_a_refusal_followed_by_a_reply_that_resets_nothing_is_not_believed():
    outcome, _ = _send({"DATA": b"550 5.1.1 no such user\r\n", "RSET": b"354 go ahead\r\n"})

    assert tables.describe(outcome) == OUT_OF_STEP


@pytest.mark.parametrize("reply", [b"354 go ahead\r\n", b"220 hello\r\n", b"Thanks!\r\n", b"25\r\n"])
def test_a_wrong_reply_to_the_dot_leaves_the_outcome_unknown(reply):
    outcome, server = _send({"DOT": reply})

    assert tables.describe(outcome) == "Unknown `smtp-out-of-step`"
    assert len(server.received) == 1


@pytest.mark.parametrize("replies", [b"250 queued\r\n554 rejected\r\n", b"554 rejected\r\n250 queued\r\n"])
def test_a_server_that_contradicts_itself_after_the_dot_leaves_the_outcome_unknown(replies):
    outcome, _ = _send({"DOT": replies})

    assert tables.describe(outcome) == "Unknown `smtp-out-of-step`"


@pytest.mark.parametrize(
    ("dot", "between"),
    [
        (b"250 queued as 1\r\n250 queued as 1\r\n", b""),
        (b"250 queued as 1\r\n421 closing\r\n", b""),
        (b"250 queued as 1\r\n", b"250 queued as 1\r\n"),
        (b"250 queued as 1\r\n", b"421 4.4.2 idle for too long\r\n"),
    ],
)
def test_unread_input_closes_a_kept_connection(dot, between):
    first, second, server = _send_twice({"DOT": [dot]}, between=between)

    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert server.connections == 2
    assert len(server.received) == 2


def test_a_kept_connection_in_step_is_used_again():
    first, second, server = _send_twice({})

    assert (type(first), type(second), server.connections) == (Accepted, Accepted, 1)


def test_a_connection_out_of_step_is_not_kept():
    first, second, server = _send_twice({"RCPT": [b"250 ok\r\n250 ok\r\n"]})

    assert (tables.describe(first), tables.describe(second)) == (OUT_OF_STEP, "Accepted 250")
    assert server.connections == 2


def test_nothing_is_kept_from_before_tls():
    outcome, server = _send(
        {"STARTTLS": b"220 go ahead\r\n250-olympus.test\r\n250 AUTH PLAIN\r\n"}, security="starttls"
    )

    assert tables.describe(outcome) == OUT_OF_STEP
    assert server.verbs()[-1] == "STARTTLS"


@pytest.mark.parametrize("reply", [b"250 go ahead\r\n", b"235 welcome\r\n"])
def test_tls_begins_after_220_only(reply):
    outcome, server = _send({"STARTTLS": reply}, security="starttls")

    assert tables.describe(outcome) == OUT_OF_STEP
    assert server.verbs()[-1] == "STARTTLS"


@pytest.mark.parametrize(
    "reply", [b"250 OK\r\n", b"235 welcome\r\n250 OK\r\n", b"334 not-base64!\r\n", b"220 hello\r\n"]
)
def test_nothing_but_235_says_that_we_are_logged_in(reply):
    outcome, server = _send({"AUTH": reply}, **LOGIN)

    assert tables.describe(outcome) == OUT_OF_STEP
    assert "MAIL" not in server.verbs()


def test_a_server_that_claims_we_were_logged_in_before_is_not_believed():
    outcome, server = _send({"AUTH": b"503 already authenticated\r\n"}, **LOGIN)

    assert isinstance(outcome, Refused)
    assert outcome.reason_code == "smtp-503"
    assert "MAIL" not in server.verbs()


def test_a_log_in_that_is_answered_counts_for_the_kept_connection_too():
    first, second, server = _send_twice({}, **LOGIN)

    assert (type(first), type(second)) == (Accepted, Accepted)
    assert server.verbs().count("AUTH") == 1


def test_a_server_with_ways_to_log_in_that_we_do_not_know_is_the_accounts_error():
    outcome, _ = _send({"EHLO": b"250-olympus.test\r\n250 AUTH GSSAPI\r\n"}, **LOGIN)

    assert tables.describe(outcome) == "Refused account `smtp-unsupported`"


def test_a_server_that_hangs_up_instead_of_an_answer_to_the_dot_leaves_it_unknown():
    outcome, _ = _send({"DOT": b"25"}, to=["hera@olimpus.com"])

    assert isinstance(outcome, Unknown)
