"""Each line of the table of answers in docs/providers/smtp.md, against a real server over real sockets."""

import asyncio
import base64
import contextlib
import socket
import threading
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from django.core.mail import EmailMessage

from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted, NotAttempted, Refused, Unknown
from providers.tests.support import accounts, certificates, tables
from providers.tests.support.limits_of_this_process import no_descriptor_left
from providers.transports import smtp
from providers.transports.sender import Sender
from providers.transports.smtp_delivery import DeadlineOver, SmtpDelivery
from providers.transports.smtp_session import Envelope, judge_timeout

ROWS = tables.rows("Answers", "providers/smtp.md")
ZEUS, HERA = "zeus@olimpus.com", "hera@olimpus.com"
REPLIES = {
    "relay-denied": ("RCPT", "554 5.7.1 Relay access denied"),
    "all-550": ("RCPT", "550 5.1.1 User unknown"),
    "all-450": ("RCPT", "450 4.2.0 Greylisted, come back"),
    "sender-550": ("MAIL", "550 5.7.0 Sender rejected"),
    "sender-451": ("MAIL", "451 4.3.0 Local error"),
    "dot-554": ("DATA", "554 5.6.0 Content rejected"),
    "dot-policy": ("DATA", "550 5.7.1 Looks like spam"),
    "dot-451": ("DATA", "451 4.3.0 Try again later"),
    "throttled": ("DATA", "454 Throttling failure: Maximum sending rate exceeded."),
    "echo": (
        "MAIL",
        f"550 5.7.1 after AUTH PLAIN {base64.b64encode(b'zeus' + bytes(1) + b'zeus' + bytes(1) + b'thunderbolt').decode()} nothing",
    ),
    "recipient-421": ("RCPT", "421 4.7.0 Too many connections from your host"),
    "busy-421": ("MAIL", "421 4.3.2 Too busy"),
}
BY_ADDRESS = {
    "one-550": {HERA: "550 5.1.1 User unknown"},
    "one-450": {HERA: "450 4.2.0 Greylisted, come back"},
    "550-and-450": {HERA: "550 5.1.1 User unknown", ZEUS: "450 4.2.0 Greylisted, come back"},
}


class Server:
    """aiosmtpd with the misdeeds of one scenario. `received` holds the mails that passed the dot."""

    def __init__(self, scenario: str = "ok", *, tls=None, **options) -> None:
        self.tls = tls
        self.scenario = scenario
        self.options = options
        self.received: list[bytes] = []
        self.sessions: list[SMTP] = []
        self.served: set[int] = set()
        self.hanging = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.get_running_loop().create_server(self._session, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopped.set()
        self.hang_up()
        self._server.close()

    def hang_up(self) -> None:
        """Close every connection, as a server does when they were idle for too long."""
        for session in self.sessions:
            if session.transport is not None:
                session.transport.close()

    def _session(self) -> SMTP:
        session = SMTP(self, enable_SMTPUTF8=False, hostname="olympus.test", **self.options)
        self.sessions.append(session)
        return session

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        if self.scenario == "idle-421" and id(server) in self.served:
            return "421 4.4.2 Idle for too long"
        await self._misbehave("sender", server)
        return self._reply("MAIL") or self._note_sender(envelope, address)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        reply = BY_ADDRESS.get(self.scenario, {}).get(address) or self._reply("RCPT")
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        reply = self._reply("DATA")
        if reply:
            return reply
        self.received.append(envelope.content)
        self.served.add(id(server))
        await self._misbehave("dot", server)
        return "250 2.0.0 Ok: queued as 4Xyz12"

    def _note_sender(self, envelope, address):
        envelope.mail_from = address
        return "250 OK"

    def _reply(self, verb):
        on, reply = REPLIES.get(self.scenario, ("", ""))
        return reply if on == verb else ""

    async def _misbehave(self, step, server):
        if self.scenario == f"drop-{step}":
            server.transport.abort()
            await asyncio.sleep(0)
        if self.scenario == f"hang-{step}":
            self.hanging.set()
            await self.stopped.wait()


class WrongPassword:
    """An authenticator that knows nobody."""

    def __call__(self, server, session, envelope, mechanism, data):
        return AuthResult(success=False, handled=False)


@contextlib.asynccontextmanager
async def _talker(greeting: bytes, *, endless: bool = False):
    """A server that says one thing and then nothing, or the same without end."""
    ended = asyncio.Event()

    async def talk(reader, writer):
        writer.write(greeting)
        with contextlib.suppress(ConnectionError):
            while endless:
                writer.write(b"250-" + b"x" * 500 + b"\r\n")
                await writer.drain()
            await ended.wait()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    ended.set()
    server.close()


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1", "olympus.test"]


def _closed_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _to_both() -> EmailMessage:
    return accounts.mail(to=[HERA, ZEUS])


TALKERS: dict[str, dict[str, Any]] = {
    "greeting-554": {"greeting": b"554 5.3.2 No service for you\r\n"},
    "hang-greeting": {"greeting": b""},
    "endless-reply": {"greeting": b"220-hello\r\n", "endless": True},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "dns": {"host": "olympus.test"},
    "no-tls": {"security": "tls"},
    "wrong-certificate": {"security": "tls"},
    "no-starttls": {"security": "starttls"},
    "wrong-password": {"username": "zeus", "password": "thunder"},
}


async def _once(scenario, settings):
    """The outcome of one send."""
    deadline = 1.0 if scenario.startswith("hang-") else 5.0
    if scenario in TALKERS:
        async with _talker(**TALKERS[scenario]) as port:
            return await accounts.send(accounts.smtp(port), deadline=deadline)
    if scenario.startswith("idle"):
        return await _second_send(scenario)
    if scenario == "connection-refused":
        return await accounts.send(accounts.smtp(_closed_port()))
    tls = certificates.self_signed(settings.MERCURY_DATA) if scenario == "wrong-certificate" else None
    knows = {"authenticator": WrongPassword(), "auth_require_tls": False} if scenario == "wrong-password" else {}
    async with Server(scenario, tls=tls, **knows) as server:
        account = accounts.smtp(server.port, **OPTIONS.get(scenario, {}))
        return await accounts.send(account, _to_both(), deadline=deadline)


async def _second_send(scenario):
    """The outcome of a send on a connection that the server has given up since the first."""
    async with Server(scenario) as server, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
        account = accounts.smtp(server.port)
        assert isinstance(await sender.send(account, accounts.mail()), Accepted)
        if scenario == "idle":
            server.hang_up()
        outcome = await sender.send(account, accounts.mail())
        assert len(server.sessions) == 2
        return outcome


@pytest.mark.parametrize(("_words", "scenario", "expected"), ROWS, ids=[tables.name(row[1]) for row in ROWS])
def test_the_server_answers_as_the_table_says(_words, scenario, expected, settings, monkeypatch):
    scenario = tables.name(scenario)
    if scenario == "private":
        settings.MERCURY_PRIVATE_HOSTS_ALLOWED = []
    if scenario == "dns":
        monkeypatch.setattr(socket, "getaddrinfo", _not_found)

    outcome = event_loop.run(_once(scenario, settings))

    assert tables.describe(outcome) == expected


def _not_found(*args, **kwargs):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_each_recipient_keeps_its_own_answer():
    async def scenario():
        async with Server("one-550") as server:
            return await accounts.send(accounts.smtp(server.port), _to_both()), server.received

    outcome, received = event_loop.run(scenario())

    assert isinstance(outcome, Accepted)
    assert [(refusal.address, refusal.reason) for refusal in outcome.refused] == [(HERA, "550 5.1.1 User unknown")]
    assert outcome.provider_message_id == "4Xyz12"
    assert len(received) == 1


def test_when_all_are_refused_each_answer_is_kept_and_no_content_goes_out():
    async def scenario():
        async with Server("550-and-450") as server:
            return await accounts.send(accounts.smtp(server.port), _to_both()), server.received

    outcome, received = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    assert {refusal.address: refusal.permanent for refusal in outcome.refused} == {HERA: True, ZEUS: False}
    assert received == []


def test_a_mail_whose_dot_got_no_answer_was_handed_over_once():
    async def scenario():
        async with Server("drop-dot") as server, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            return await sender.send(accounts.smtp(server.port), accounts.mail()), server.received

    outcome, received = event_loop.run(scenario())

    assert isinstance(outcome, Unknown)
    assert len(received) == 1


def test_a_connection_serves_many_mails_also_after_a_refusal():
    async def scenario():
        async with Server("all-550") as server, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            account = accounts.smtp(server.port)
            await sender.send(account, accounts.mail())
            server.scenario = "ok"
            outcomes = [await sender.send(account, accounts.mail()) for _ in range(3)]
            return outcomes, len(server.sessions)

    outcomes, connections = event_loop.run(scenario())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert connections == 1


def test_headers_and_text_arrive_as_they_were_given():
    async def scenario():
        async with Server() as server:
            text = "Hi\n.\nQUIT\n..two dots\r.\rbare"
            await accounts.send(accounts.smtp(server.port), accounts.mail(body=text))
            return server.received

    (content,) = event_loop.run(scenario())

    assert f"Message-ID: <{accounts.MAIL_ID}@olimpus.com>".encode() in content
    assert f"X-Mercury-ID: {accounts.MAIL_ID}".encode() in content
    assert b"\r\n.\r\nQUIT\r\n..two dots\r\n.\r\nbare" in content


def test_a_header_that_cannot_be_written_is_an_error_of_the_message():
    async def scenario():
        async with Server() as server:
            outcome = await accounts.send(accounts.smtp(server.port), accounts.mail(subject="two\nlines"))
            return outcome, server.sessions

    outcome, sessions = event_loop.run(scenario())

    assert tables.describe(outcome) == "Not attempted message `unsupported`"
    assert sessions == []


def test_an_address_that_smuggles_a_command_is_never_sent():
    async def scenario():
        async with Server() as server:
            message = accounts.mail(to=["hera@olimpus.com", "iris@olimpus.com>\r\nRCPT TO:<hades@olimpus.com"])
            return await accounts.send(accounts.smtp(server.port), message), server.received

    outcome, received = event_loop.run(scenario())

    assert tables.describe(outcome) == "Not attempted message `unsupported`"
    assert received == []


def test_a_password_does_not_reach_a_reason():
    class Echo(WrongPassword):
        def __call__(self, server, session, envelope, mechanism, data):
            return AuthResult(success=False, handled=False, message="535 5.7.8 thunderbolt is wrong")

    async def scenario():
        async with Server(authenticator=Echo(), auth_require_tls=False) as server:
            return await accounts.send(accounts.smtp(server.port, username="zeus", password="thunderbolt"))

    outcome = event_loop.run(scenario())

    assert outcome.reason == "The server refused the login: 535 5.7.8."


def test_a_log_in_that_a_server_repeats_later_does_not_reach_a_reason():
    class Anybody:
        def __call__(self, server, session, envelope, mechanism, data):
            return AuthResult(success=True)

    async def scenario():
        async with Server("echo", authenticator=Anybody(), auth_require_tls=False) as server:
            return await accounts.send(accounts.smtp(server.port, username="zeus", password="thunderbolt"))

    assert event_loop.run(scenario()).reason == "5.7.1 after AUTH PLAIN [secret] nothing"


def test_a_connection_that_was_idle_for_long_is_replaced(monkeypatch):
    monkeypatch.setattr(smtp, "IDLE", 0.0)

    async def scenario():
        async with Server() as server, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            outcomes = [await sender.send(accounts.smtp(server.port), accounts.mail()) for _ in range(2)]
            return outcomes, len(server.sessions)

    outcomes, connections = event_loop.run(scenario())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert connections == 2


def test_a_connection_that_the_others_can_do_without_is_closed(monkeypatch):
    async def scenario():
        async with Server() as server, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            account = accounts.smtp(server.port)
            await asyncio.gather(*(sender.send(account, accounts.mail()) for _ in range(3)))
            monkeypatch.setattr(smtp, "SURPLUS", 0.0)
            await sender.send(account, accounts.mail())
            return sender._channels["hades"][1]._count_connections()

    assert event_loop.run(scenario()) == 0


def test_a_cancelled_call_stops_its_thread_before_the_dot():
    async def scenario():
        async with Server("hang-sender") as server, Sender(deadline=60, connect_timeout=1, concurrency=1) as sender:
            call = asyncio.create_task(sender.send(accounts.smtp(server.port), accounts.mail()))
            await server.hanging.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            server.scenario = "ok"
            after = await sender.send(accounts.smtp(server.port), accounts.mail())  # the only thread is free again
            return call.cancelled(), after, server.received

    cancelled, after, received = event_loop.run(scenario())

    assert cancelled
    assert isinstance(after, Accepted)
    assert len(received) == 1


def test_a_call_that_was_given_up_never_passes_the_dot():
    call = SmtpDelivery(5.0)

    call.give_up()

    assert isinstance(judge_timeout(call), NotAttempted)
    with pytest.raises(DeadlineOver):
        call.pass_dot()


def test_a_call_that_is_given_up_after_the_dot_is_in_doubt():
    call = SmtpDelivery(5.0)
    call.pass_dot()

    call.give_up()

    assert isinstance(judge_timeout(call), Unknown)


def test_no_bare_line_end_is_left_in_an_envelope():
    envelope = Envelope.from_message(accounts.mail(body="one\rtwo\nthree\r\nfour"))

    assert b"one\r\ntwo\r\nthree\r\nfour" in envelope.content


def test_a_resolver_that_does_not_answer_is_this_machines_trouble(monkeypatch):
    answered = threading.Event()

    def never(*args, **kwargs):
        answered.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:
        outcome = event_loop.run(accounts.send(accounts.smtp(25, host="olympus.test"), deadline=0.3))
    finally:
        answered.set()

    assert tables.describe(outcome) == "Not attempted local `resolver`"


def test_a_process_without_descriptors_blames_nobody():
    async def scenario():
        async with Server() as server, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            account = accounts.smtp(server.port)
            with no_descriptor_left():
                outcome = await sender.send(account, accounts.mail())
            return outcome, await sender.send(account, accounts.mail())

    outcome, after = event_loop.run(scenario())

    assert tables.describe(outcome) == "Not attempted local `no-descriptors`"
    assert isinstance(after, Accepted)


def test_a_server_that_closes_at_a_recipient_is_judged_by_what_it_said():
    async def scenario():
        async with Server("recipient-421") as server:
            return await accounts.send(accounts.smtp(server.port), _to_both())

    assert tables.describe(event_loop.run(scenario())) == "Refused rate `smtp-421`, fewer concurrent requests"
