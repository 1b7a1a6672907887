"""An SMTP server may take minutes to answer the end of an email: leases last, and a stop is quick all the same."""

import asyncio
import datetime as dt

import pytest

from mails.dispatch import claim
from mails.dispatch.drain import Drain
from mails.models import Mail
from mails.states import Status
from mails.tests.builders import a_mail, event_names, reloaded
from mercury.lib import database_clock, event_loop
from providers import registry
from providers.tests.scripted_smtp import ScriptedServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings):
    """An account olympus at a server that has the email and does not say so."""
    settings.MERCURY_ALLOWED_HOSTS_OUT = ["127.0.0.1"]
    server = ScriptedServer()
    server.answers_the_dot.clear()
    options = {"host": "127.0.0.1", "port": server.port, "security": "none"}
    registry.register("olympus", "smtp", options, by="test")
    return server


def _soon_over(mail):
    """Let the mail's lease end soon."""
    Mail.objects.filter(pk=mail.pk).update(lease_expires_at=database_clock.now() + dt.timedelta(seconds=1))


def test_a_heartbeat_renews_the_leases_of_what_is_in_hand(olympus):
    mail, lost = a_mail(), a_mail()
    runner = Drain(["text"], places=4)
    calls = {call.mail.id: call for call in runner._take(4).calls}
    _soon_over(mail)
    _soon_over(lost)
    runner._in_hand = {mail.pk: calls[mail.pk]}

    runner._beat()

    in_a_while = database_clock.now() + dt.timedelta(seconds=30)
    assert reloaded(mail).lease_expires_at > in_a_while
    assert reloaded(lost).lease_expires_at < in_a_while  # this process does not know of it any more


def test_a_lease_is_renewed_by_who_holds_it_only(olympus):
    mail = a_mail()
    runner = Drain(["text"], places=4)
    runner._take(4)
    _soon_over(mail)
    now = database_clock.now()

    renewed = claim.renew_leases([mail.pk], worker="somebody-else", now=now, lease=dt.timedelta(seconds=50))

    assert renewed == 0


def test_a_fresh_lease_is_not_written_again(olympus):
    mail = a_mail()
    runner = Drain(["text"], places=4)
    runner._take(4)
    now = database_clock.now()

    renewed = claim.renew_leases([mail.pk], worker=runner.worker, now=now, lease=dt.timedelta(seconds=50))

    assert renewed == 0


def test_an_answer_that_comes_after_the_deadline_is_no_second_copy(server, settings):
    settings.MERCURY_DEADLINE = dt.timedelta(seconds=2)
    mail = a_mail()

    async def scenario():
        async with server:
            draining = asyncio.create_task(Drain(["text"], places=4).run(until_idle=True))
            await server.content_arrived()
            early, _ = await asyncio.wait({draining}, timeout=3)
            server.answers_the_dot.set()
            return early, await draining

    early, done = event_loop.run(scenario())

    assert not early
    assert done == 1
    assert len(server.taken) == 1
    assert reloaded(mail).attempts.count() == 1


def test_a_stop_leaves_what_waits_for_its_reply_unknown(server, settings):
    settings.MERCURY_DEADLINE = dt.timedelta(seconds=2)
    mail = a_mail(policy="at-most-once")

    async def scenario():
        async with server:
            runner = Drain(["text"], places=4)
            draining = asyncio.create_task(runner.run())
            await server.content_arrived()
            runner.stop()
            return await asyncio.wait_for(draining, 20)

    assert event_loop.run(scenario()) == 0

    assert event_names(mail)[-2:] == ["UNKNOWN", "HELD"]
    assert (reloaded(mail).status, mail.attempts.get().reason_code) == (Status.HELD, "stopped")
