"""The one door to the providers: it never raises, and never calls where it must not."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from mercury.lib.runtime import event_loop
from providers.accounts.config import AccountConfig
from providers.kinds.anymail_api import AnymailApi
from providers.kinds.sendgrid import SendGridApi
from providers.outcomes import Accepted, Unknown
from providers.sandbox import mailbox
from providers.tests.support import accounts, tables
from providers.tests.support.local_provider import LocalProvider
from providers.transports import building, http, mime
from providers.transports.http_client import HttpClient
from providers.transports.maildir import SandboxChannel
from providers.transports.sender import Sender

OLYMPUS = AccountConfig(name="olympus", kind="sandbox")


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


@pytest.mark.parametrize(
    "account",
    [
        AccountConfig(name="olympus", kind="pigeon"),
        AccountConfig(name="olympus", kind="sendgrid"),
        AccountConfig(name="olympus", kind="sendgrid", options={"api_key": "key"}),
        AccountConfig(name="olympus", kind="smtp", options={"host": "127.0.0.1"}),
    ],
)
def test_an_account_that_cannot_work_is_a_refusal(account):
    assert tables.describe(event_loop.run(accounts.send(account))) == "Not attempted account `account-unusable`"


def test_what_nobody_foresaw_is_unknown_and_tells_no_secret(monkeypatch):
    async def stumble(self, message):
        raise LookupError("thunderbolt")

    monkeypatch.setattr(SandboxChannel, "send", stumble)

    outcome = event_loop.run(accounts.send(OLYMPUS))

    assert outcome == Unknown(reason_code="internal-error", reason="Mercury failed while sending: LookupError.")


def _note_threads(monkeypatch, owner, name):
    """Return the list of threads that call this function from now on."""
    threads, build = [], getattr(owner, name)

    def note(*arguments):
        threads.append(threading.current_thread().name.rpartition("_")[0])
        return build(*arguments)

    monkeypatch.setattr(owner, name, note)
    return threads


@pytest.mark.parametrize(("open_account", "api"), [(accounts.sendgrid, SendGridApi), (accounts.mailgun, AnymailApi)])
def test_the_event_loop_builds_no_large_request(monkeypatch, open_account, api):
    threads = _note_threads(monkeypatch, api, "build_request")

    async def scenario():
        async with LocalProvider() as provider, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            account = open_account(provider)
            sizes = (1, building.LARGE, building.LARGE + 1)
            return [await sender.send(account, accounts.mail(body="x" * size)) for size in sizes]

    outcomes = event_loop.run(scenario())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert threads == ["", "", "build"]


def test_the_event_loop_builds_no_large_email_for_a_sandbox(monkeypatch):
    threads = _note_threads(monkeypatch, mime, "build_content")

    for size in (building.LARGE, building.LARGE + 1):
        assert isinstance(event_loop.run(accounts.send(OLYMPUS, accounts.mail(body="x" * size))), Accepted)

    assert threads == ["", "build"]


def test_a_request_that_is_built_too_late_is_not_made(monkeypatch):
    monkeypatch.setattr(HttpClient, "call", None)
    moments = iter([0.0, 6.0])  # when the call begins, and when its request is built
    monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=lambda: next(moments)))

    async def scenario():
        async with LocalProvider() as provider, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            return await sender.send(accounts.sendgrid(provider), accounts.mail())

    assert event_loop.run(scenario()).reason_code == "not-built"


def test_cancellation_goes_through():
    async def scenario():
        async with (
            LocalProvider(answer="hang") as provider,
            Sender(deadline=5, connect_timeout=1, concurrency=4) as sender,
        ):
            call = asyncio.create_task(sender.send(accounts.sendgrid(provider), accounts.mail()))
            await provider.called.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            return call.cancelled()

    assert event_loop.run(scenario())


def test_new_options_of_an_account_count_at_once():
    async def scenario():
        async with LocalProvider() as provider, Sender(deadline=5, connect_timeout=1, concurrency=4) as sender:
            wrong = await sender.send(accounts.sendgrid(provider, api_key="old"), accounts.mail())
            right = await sender.send(accounts.sendgrid(provider), accounts.mail())
            return wrong, right

    wrong, right = event_loop.run(scenario())

    assert tables.describe(wrong) == "Refused account `http-401`"
    assert isinstance(right, Accepted)


def test_many_at_once_do_not_mix_up():
    async def scenario():
        async with LocalProvider() as provider, Sender(deadline=5, connect_timeout=1, concurrency=50) as sender:
            mails = [accounts.mail(subject=str(number)) for number in range(50)]
            outcomes = await asyncio.gather(*(sender.send(accounts.mailgun(provider), mail) for mail in mails))
            return outcomes, {mail["subject"] for mail in provider.received}

    outcomes, subjects = event_loop.run(scenario())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert len({outcome.provider_message_id for outcome in outcomes}) == 50
    assert subjects == {str(number) for number in range(50)}


def test_an_account_never_shows_its_secrets_when_printed():
    account = AccountConfig(name="olympus", kind="sendgrid", options={"api_key": "thunderbolt"})

    assert "thunderbolt" not in repr(account)


def test_the_sandbox_takes_a_mail():
    outcome = event_loop.run(accounts.send(OLYMPUS))

    assert isinstance(outcome, Accepted)
    assert [kept.key for kept in mailbox.load_page("olympus").mails] == [outcome.provider_message_id]
