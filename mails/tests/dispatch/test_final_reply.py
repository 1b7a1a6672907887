"""An SMTP server may take minutes to answer the end of an email: leases last, and a stop is quick all the same."""

import asyncio
import datetime as dt

import pytest

from mails.dispatch.dispatcher import Dispatcher
from mails.maintenance import sweeper
from mails.models import Mail
from mails.states import Status
from mails.tests.builders import a_mail, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.accounts import registration
from providers.tests.support.scripted_smtp import ScriptedServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings):
    """An account olympus at a server that has the email and does not say so."""
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    server = ScriptedServer()
    server.answers_the_dot.clear()
    options = {"host": "127.0.0.1", "port": server.port, "security": "none"}
    registration.register("olympus", "smtp", options, by="test")
    return server


def test_a_call_that_outlasts_its_lease_stays_with_its_worker(olympus, settings):
    settings.MERCURY_LEASE = dt.timedelta(seconds=10)
    mail, lost = a_mail(), a_mail()
    runner = Dispatcher(["text"], concurrency=4)
    calls = {call.mail.id: call for call in runner.claimer.claim(4).calls}
    runner._open_calls = {calls[mail.pk].attempt.id: calls[mail.pk]}
    runner.heartbeat.write()

    Mail.objects.update(lease_expires_at=database_clock.now() - dt.timedelta(minutes=9))
    sweeper.sweep()

    assert reloaded(mail).status == Status.SENDING
    assert reloaded(lost).status == Status.QUEUED  # this process does not know of it any more


def test_an_answer_that_comes_after_the_deadline_is_no_second_copy(server, settings):
    settings.MERCURY_SEND_TIMEOUT = dt.timedelta(seconds=2)
    mail = a_mail()

    async def scenario():
        async with server:
            dispatching = asyncio.create_task(Dispatcher(["text"], concurrency=4).run(until_idle=True))
            await server.content_arrived()
            early, _ = await asyncio.wait({dispatching}, timeout=3)
            server.answers_the_dot.set()
            return early, await dispatching

    early, done = event_loop.run(scenario())

    assert not early
    assert done == 1
    assert len(server.received) == 1
    assert reloaded(mail).attempts.count() == 1


def test_a_stop_leaves_what_waits_for_its_reply_unknown(server, settings):
    settings.MERCURY_SEND_TIMEOUT = dt.timedelta(seconds=2)
    mail = a_mail(delivery_guarantee="at-most-once")

    async def scenario():
        async with server:
            runner = Dispatcher(["text"], concurrency=4)
            dispatching = asyncio.create_task(runner.run())
            await server.content_arrived()
            runner.stop()
            return await asyncio.wait_for(dispatching, 20)

    assert event_loop.run(scenario()) == 0

    assert event_names(mail)[-2:] == ["UNKNOWN", "HELD"]
    assert (reloaded(mail).status, mail.attempts.get().reason_code) == (Status.HELD, "stopped")
