"""After the final dot only the server knows whether it has the email, so its reply has a time of its own."""

import asyncio
import time

import pytest

from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted, Cause, NotAttempted, Unknown
from providers.tests.support import accounts
from providers.tests.support.limits_of_this_process import no_thread_left
from providers.tests.support.scripted_smtp import ScriptedServer
from providers.transports.sender import MAX_THREADS, Sender
from providers.transports.smtp_delivery import SLOWEST_UPLOAD, SmtpDelivery

DEADLINE = 1.5


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


def _sender(*, final_reply=30.0, concurrency=4):
    return Sender(deadline=DEADLINE, connect_timeout=DEADLINE, concurrency=concurrency, final_reply=final_reply)


def test_a_server_that_answers_the_dot_late_has_the_email_once():
    async def scenario():
        async with ScriptedServer() as server, _sender() as sender:
            server.answers_the_dot.clear()
            call = asyncio.create_task(sender.send(accounts.smtp(server.port), accounts.mail()))
            await server.content_arrived()
            early, _ = await asyncio.wait({call}, timeout=DEADLINE + 1)
            server.answers_the_dot.set()
            return early, await call, server

    early, outcome, server = event_loop.run(scenario())

    assert not early
    assert isinstance(outcome, Accepted)
    assert len(server.received) == 1


def test_a_server_that_never_answers_the_dot_leaves_the_outcome_unknown():
    async def scenario():
        async with ScriptedServer() as server, _sender(final_reply=DEADLINE) as sender:
            server.answers_the_dot.clear()
            return await sender.send(accounts.smtp(server.port), accounts.mail())

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Unknown)
    assert outcome.reason_code == "read-timeout"


def test_a_stop_does_not_wait_for_the_reply():
    async def scenario():
        async with ScriptedServer() as server, _sender() as sender:
            server.answers_the_dot.clear()
            call = asyncio.create_task(sender.send(accounts.smtp(server.port), accounts.mail()))
            await server.content_arrived()
            began = time.monotonic()
            sender.end_calls_within(DEADLINE)
            return await call, time.monotonic() - began

    outcome, seconds = event_loop.run(scenario())

    assert isinstance(outcome, Unknown)
    assert outcome.reason_code == "stopped"
    assert seconds < 10


def test_a_stop_ends_the_calls_of_an_account_whose_options_have_changed_too():
    async def scenario():
        async with ScriptedServer() as server, _sender() as sender:
            server.answers_the_dot.clear()
            call = asyncio.create_task(sender.send(accounts.smtp(server.port), accounts.mail()))
            await server.content_arrived()
            server.answers_the_dot.clear()
            other = accounts.smtp(server.port, username="zeus", password="thunder")
            second = asyncio.create_task(sender.send(other, accounts.mail()))
            sender.end_calls_within(DEADLINE)
            return await asyncio.wait_for(asyncio.gather(call, second), 20)

    first, second = event_loop.run(scenario())

    assert (type(first), first.reason_code) == (Unknown, "stopped")
    assert not isinstance(second, Accepted)


def test_an_account_that_waits_for_replies_keeps_no_other_waiting():
    async def scenario():
        async with ScriptedServer() as slow, ScriptedServer() as quick, _sender(concurrency=MAX_THREADS) as sender:
            slow.answers_the_dot.clear()
            hangs = accounts.smtp(slow.port)
            waiting = [asyncio.create_task(sender.send(hangs, accounts.mail())) for _ in range(2 * MAX_THREADS)]
            await slow.content_arrived()
            outcome = await sender.send(accounts.named("olympus", quick.port), accounts.mail())
            surplus, _ = await asyncio.wait(waiting, timeout=2 * DEADLINE)
            slow.answers_the_dot.set()
            return outcome, [task.result() for task in surplus], await asyncio.gather(*waiting)

    outcome, surplus, all_of_them = event_loop.run(scenario())

    assert isinstance(outcome, Accepted)
    assert len(surplus) == MAX_THREADS
    # They found no free connection: the server has not been asked, so it is not to blame.
    assert all(isinstance(outcome, NotAttempted) and outcome.cause is Cause.CAPACITY for outcome in surplus)
    assert sum(isinstance(outcome, Accepted) for outcome in all_of_them) == MAX_THREADS


def test_a_large_email_has_more_time_to_be_uploaded():
    call = SmtpDelivery(10)
    before = call.count_seconds_left()

    call.extend_for(10 * SLOWEST_UPLOAD)

    assert call.count_seconds_left() == pytest.approx(before + 10, abs=1)


def test_the_dot_begins_a_time_of_its_own_that_a_stop_still_ends():
    call = SmtpDelivery(10, final_reply=600)

    call.pass_dot()
    after_the_dot = call.count_seconds_left()
    call.end_by(time.monotonic() + 20)

    assert after_the_dot == pytest.approx(600, abs=1)
    assert call.count_seconds_left() == pytest.approx(20, abs=1)


def test_a_call_that_no_thread_could_be_started_for_is_not_made_by_another_thread_later():
    async def scenario():
        async with ScriptedServer() as server, _sender() as sender:
            server.answers_the_dot.clear()
            account = accounts.smtp(server.port)
            first = asyncio.create_task(sender.send(account, accounts.mail()))
            await server.content_arrived()
            with no_thread_left():
                refused = await sender.send(account, accounts.mail())
            server.answers_the_dot.set()
            await first
            return refused, await sender.send(account, accounts.mail()), server

    refused, last, server = event_loop.run(scenario())

    assert isinstance(refused, NotAttempted)
    assert (refused.cause, refused.reason_code) == (Cause.MACHINE, "no-threads")
    assert isinstance(last, Accepted)
    assert len(server.received) == 2  # the first and the last
