"""Each line of the table in docs/providers.md, over real sockets."""

import asyncio
import contextlib
import resource
import socket
from typing import Any

import pytest

from mercury.lib.runtime import event_loop
from providers import outbound_hosts
from providers.kinds.sendgrid import SENDGRID, SendGridApi
from providers.outcomes import Accepted, FailureClass, Refused, Unknown
from providers.tests.support import accounts, certificates, tables
from providers.tests.support.limits_of_this_process import no_descriptor_left
from providers.tests.support.local_provider import MAILGUN_KEY, SENDGRID_KEY, LocalProvider
from providers.tests.support.scripted_api import ScriptedApi
from providers.transports.sender import Sender

ROWS = tables.rows("HTTP: SendGrid and Mailgun")
NEVER_ENDING = {"hang", "drip", "connect-timeout"}


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1", "olympus.test"]


@contextlib.contextmanager
def _deaf_port():
    """A port whose queue of connections is full, so that the next one hangs."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def _closed_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


async def _call(build, scenario, settings, monkeypatch):
    answer = {"500-trusted": "500"}.get(scenario, scenario)
    tls = certificates.self_signed(settings.MERCURY_DATA) if scenario == "wrong-certificate" else None
    async with LocalProvider(answer=answer, tls=tls) as provider:
        changes: dict[str, Any] = {"trust_500": True} if scenario == "500-trusted" else {}
        with contextlib.ExitStack() as stack:
            match scenario:
                case "wrong-key":
                    changes["api_key"] = "nonsense"
                case "connection-refused":
                    changes["api_url"] = f"http://127.0.0.1:{_closed_port()}/v3/"
                case "connect-timeout":
                    changes["api_url"] = f"http://127.0.0.1:{stack.enter_context(_deaf_port())}/v3/"
                case "tls" | "wrong-certificate":
                    changes["api_url"] = f"https://127.0.0.1:{provider.port}/v3/"
                case "dns":
                    changes["api_url"] = "http://olympus.test/v3/"
                    monkeypatch.setattr(outbound_hosts, "look_up", _not_found)
                case "rebinding":
                    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = []
                    changes["api_url"] = f"http://hades.test:{provider.port}/v3/"
                    monkeypatch.setattr(outbound_hosts, "look_up", _loopback)
                case "private":
                    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = []
            deadline = 0.7 if scenario in NEVER_ENDING else 5.0
            outcome = await accounts.send(build(provider, **changes), deadline=deadline)
        return outcome, provider


async def _not_found(*args, **kwargs):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def _loopback(host, port):
    return [(socket.AF_INET, ("127.0.0.1", port))]


@pytest.mark.parametrize(
    ("_words", "scenario", "expected", "_mailgun"), ROWS, ids=[tables.name(row[1]) for row in ROWS]
)
def test_sendgrid_answers_as_the_table_says(_words, scenario, expected, _mailgun, settings, monkeypatch):
    outcome, provider = event_loop.run(_call(accounts.sendgrid, tables.name(scenario), settings, monkeypatch))

    assert tables.describe(outcome) == expected
    assert provider.calls <= 1


@pytest.mark.parametrize(
    ("_words", "scenario", "_sendgrid", "expected"), ROWS, ids=[tables.name(row[1]) for row in ROWS]
)
def test_mailgun_answers_as_the_table_says(_words, scenario, _sendgrid, expected, settings, monkeypatch):
    outcome, provider = event_loop.run(_call(accounts.mailgun, tables.name(scenario), settings, monkeypatch))

    assert tables.describe(outcome) == expected
    assert provider.calls <= 1


def test_the_table_has_each_answer_that_the_local_provider_knows():
    from providers.tests.support.local_provider import ANSWERS

    scenarios = {tables.name(row[1]) for row in ROWS}

    assert set(ANSWERS) - {"secret-echo"} <= scenarios


@pytest.mark.parametrize("build", [accounts.sendgrid, accounts.mailgun])
def test_a_400_mb_answer_is_not_read(build):
    async def scenario():
        async with LocalProvider(answer="huge") as provider:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            outcome = await accounts.send(build(provider))
            return outcome, provider.bytes_written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    outcome, written, grown = event_loop.run(scenario())

    assert isinstance(outcome, Unknown)
    assert written < 20_000_000
    assert grown < 30_000  # kB


@pytest.mark.parametrize("build", [accounts.sendgrid, accounts.mailgun])
def test_secrets_and_control_characters_do_not_reach_a_reason(build):
    async def scenario():
        async with LocalProvider(answer="secret-echo") as provider:
            return await accounts.send(build(provider))

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    key = SENDGRID_KEY if build is accounts.sendgrid else MAILGUN_KEY
    assert key not in outcome.reason
    assert "[secret]" in outcome.reason
    assert outcome.reason.isprintable()
    assert len(outcome.reason.encode()) <= 2048


def test_credentials_do_not_follow_a_redirect_to_another_host():
    async def scenario():
        async with LocalProvider(answer="307") as provider:
            outcome = await accounts.send(accounts.mailgun(provider))
            return outcome, provider.calls, provider.count

    outcome, calls, received = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    assert (calls, received) == (1, 0)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_proxies_of_the_environment_are_not_used(name, monkeypatch):
    for spelling in (name, name.lower()):
        monkeypatch.setenv(spelling, f"http://127.0.0.1:{_closed_port()}")

    async def scenario():
        async with LocalProvider() as provider:
            return await accounts.send(accounts.sendgrid(provider))

    assert isinstance(event_loop.run(scenario()), Accepted)


def test_connections_are_reused():
    async def scenario():
        async with LocalProvider() as provider, Sender(deadline=5, connect_timeout=1, concurrency=8) as sender:
            for _ in range(3):
                await sender.send(accounts.sendgrid(provider), accounts.mail())
            return len(provider.connections), provider.count

    assert event_loop.run(scenario()) == (1, 3)


def test_the_name_that_a_provider_gives_is_kept():
    async def scenario():
        async with LocalProvider() as provider:
            return [await accounts.send(build(provider)) for build in (accounts.sendgrid, accounts.mailgun)]

    first, second = event_loop.run(scenario())

    assert (first.provider_message_id, second.provider_message_id) == ("local-1", "local-2@mg.olimpus.com")


def test_an_email_that_the_payload_cannot_carry_is_never_posted():
    async def scenario():
        async with LocalProvider() as provider:
            outcome = await accounts.send(accounts.sendgrid(provider), accounts.mail(to=["no address"]))
            return outcome, provider.calls

    outcome, calls = event_loop.run(scenario())

    assert tables.describe(outcome) == "Not attempted message `unsupported`"
    assert calls == 0


def test_a_resolver_that_does_not_answer_is_this_machines_trouble(monkeypatch):
    async def never(*args, **kwargs):
        await asyncio.Event().wait()

    monkeypatch.setattr(outbound_hosts, "look_up", never)

    async def scenario():
        async with LocalProvider() as provider:
            return await accounts.send(accounts.sendgrid(provider, api_url="http://olympus.test/v3/"), deadline=0.5)

    assert tables.describe(event_loop.run(scenario())) == "Not attempted local `resolver`"


def test_a_process_without_descriptors_blames_nobody():
    async def scenario():
        async with LocalProvider() as provider, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            account = accounts.sendgrid(provider)
            with no_descriptor_left():
                outcome = await sender.send(account, accounts.mail())
            return outcome, await sender.send(account, accounts.mail())

    outcome, after = event_loop.run(scenario())

    assert tables.describe(outcome) == "Not attempted local `no-descriptors`"
    assert isinstance(after, Accepted)


@pytest.mark.parametrize("status", [200, 500])
def test_an_error_document_may_mean_another_status_than_its_own(status, monkeypatch):
    monkeypatch.setattr(SendGridApi, "read_status", lambda self, answer: 422)

    async def scenario():
        async with ScriptedApi(status, '{"errors": [{"message": "The subject is required"}]}') as provider:
            return await provider.send(SENDGRID)

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Refused)
    assert (outcome.failure_class, outcome.reason_code) == (FailureClass.MESSAGE, f"http-{status}")
    assert (outcome.status_code, outcome.reason) == (status, "The subject is required")
