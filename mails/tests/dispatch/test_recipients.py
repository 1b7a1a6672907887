"""Each recipient has its own outcome at each sort of provider, over real sockets: one bad address costs the others nothing."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from django.db import connection

from mails.dispatch.dispatcher import Dispatcher
from mails.states import DeliveryGuarantee, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail, reloaded
from mercury.lib.runtime import event_loop
from providers.accounts import registration
from providers.tests.support.local_provider import MAILGUN_DOMAIN, MAILGUN_KEY, SENDGRID_KEY, LocalProvider
from providers.tests.support.scripted_api import ScriptedApi
from providers.tests.support.small_smtp_server import SmallSmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

BAD = "bad-@olimpus.com"  # the local provider refuses such an address
REJECTED = {HERA: RecipientState.ACCEPTED, IRIS: RecipientState.ACCEPTED, BAD: RecipientState.REFUSED}


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


@asynccontextmanager
async def sendgrid():
    async with LocalProvider() as provider:
        await register("sendgrid", {"api_key": SENDGRID_KEY, "api_url": provider.sendgrid_url})
        yield lambda: _split(mail["to"] for mail in provider.received)


@asynccontextmanager
async def mailgun():
    async with LocalProvider() as provider:
        options = {"api_key": MAILGUN_KEY, "api_url": provider.mailgun_url, "sender_domain": MAILGUN_DOMAIN}
        await register("mailgun", options)
        yield lambda: _split(mail["to"] for mail in provider.received)


@asynccontextmanager
async def smtp():
    async with SmallSmtpServer(replies={BAD: "550 5.1.1 User unknown"}) as server:
        await register("smtp", {"host": "127.0.0.1", "port": server.port, "security": "none"})
        yield lambda: _split(server.delivered)


@asynccontextmanager
async def mandrill():
    """It accepts a request, and says for each recipient whether it gets the email."""
    results = [{"email": address, "status": "sent", "_id": "1"} for address in (HERA, IRIS)]
    results.append({"email": BAD, "status": "rejected", "reject_reason": "hard-bounce", "_id": "2"})
    async with ScriptedApi(200, web.json_response(results).text or "") as api:
        await register("mandrill", {"api_key": "a-key", "api_url": api.url})
        yield lambda: [HERA, IRIS] * len(api.received)


def _split(named):
    return [address.strip() for addresses in named for text in addresses for address in text.split(",")]


async def register(kind, options):
    def make():
        try:
            registration.register("olympus", kind, options, by="test")
        finally:
            connection.close()  # of a thread that ends unseen

    await asyncio.to_thread(make)


def dispatch_through(provider):
    """Send what is due through this provider, and return who got a copy."""

    async def scenario():
        async with provider() as list_receivers:
            await Dispatcher(["text"], concurrency=8).run(until_idle=True)
            return sorted(list_receivers())

    return event_loop.run(scenario())


def outcomes(mail):
    return {recipient.address: recipient.state for recipient in mail.recipients.all()}


@pytest.mark.parametrize("guarantee", DeliveryGuarantee)
@pytest.mark.parametrize("provider", [sendgrid, mailgun, smtp, mandrill])
def test_one_bad_recipient_neither_stops_nor_repeats_the_others(provider, guarantee):
    mail = a_mail(recipient=[HERA, BAD, IRIS], delivery_guarantee=guarantee)

    received = dispatch_through(provider)

    assert outcomes(mail) == REJECTED
    assert received == [HERA, IRIS]
    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, False)
    assert mail.recipients.get(address=BAD).reason


def test_a_sandbox_accepts_each_recipient(olympus):
    mail = a_mail(recipient=[HERA, BAD, IRIS])

    event_loop.run(Dispatcher(["text"], concurrency=8).run(until_idle=True))

    assert outcomes(mail) == dict.fromkeys(REJECTED, RecipientState.ACCEPTED)
    assert len(olympus.inbox()) == 1


class RememberingApi:
    """Resend's emails API, which remembers idempotency keys, and loses the first answer."""

    def __init__(self):
        self.sent, self.calls = {}, 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/emails", self._respond)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def _respond(self, request):
        self.calls += 1
        body = await request.read()
        first = self.sent.setdefault(request.headers["Idempotency-Key"], body)
        assert first == body, "the same key for another request"
        if self.calls == 1:
            request.transport.abort()
        return web.json_response({"id": f"email-{len(self.sent)}"})


@pytest.mark.parametrize("guarantee", DeliveryGuarantee)
def test_a_lost_answer_of_a_provider_that_remembers_keys_costs_no_second_copy(guarantee):
    mail = a_mail(recipient=[HERA, IRIS], delivery_guarantee=guarantee)

    async def scenario():
        async with RememberingApi() as api:
            await register("resend", {"api_key": "a-key", "api_url": api.url})
            await Dispatcher(["text"], concurrency=8).run(until_idle=True)
            return api.calls, len(api.sent)

    calls, copies = event_loop.run(scenario())

    assert (calls, copies) == (2, 1)
    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, False)
    assert [attempt.state for attempt in mail.attempts.order_by("number")] == ["unknown", "accepted"]
