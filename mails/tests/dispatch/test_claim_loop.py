"""Claim passes that overlap: what each may claim, and who begins the next."""

import asyncio
import threading

import pytest
from django.db import OperationalError, connection

from mails.dispatch.claimer import Claimer
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import claim
from mails.models import Mail
from mails.tests.builders import a_mail
from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted
from providers.transports.sender import Sender

LONG = 20.0  # seconds that no test waits for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def two_lanes():
    """Skip the test on SQLite, which has one writer at a time: there a second claim pass would only wait."""
    if connection.vendor != "postgresql":
        pytest.skip("one claim pass at a time")


def test_sqlite_has_one_claim_pass_at_a_time_and_postgresql_two():
    assert len(Dispatcher(["text"], concurrency=8).claimers) == (2 if connection.vendor == "postgresql" else 1)


def test_a_pass_begins_while_another_is_in_flight(olympus, two_lanes, monkeypatch):
    for number in range(24):
        a_mail(subject=f"mail {number}")
    claim_some, begun, met, third = Claimer.claim, [], [], threading.Event()

    def claim_in_company(self, *arguments):
        begun.append(self)
        if len(begun) == 2:
            met.append(third.wait(LONG))
        if len(begun) == 3:
            third.set()
        return claim_some(self, *arguments)

    monkeypatch.setattr(Claimer, "claim", claim_in_company)

    assert event_loop.run(Dispatcher(["text"], concurrency=8).run(until_idle=True)) == 24

    assert met == [True]
    assert begun[1] is not begun[2]
    assert len(olympus.inbox()) == 24


def test_no_two_passes_claim_the_same_slots_bytes_or_quarantined_emails(olympus, two_lanes):
    a_mail()
    runner = Dispatcher(["text"], concurrency=8)
    [call] = runner.claimer.claim(1).calls
    runner._open_calls[call.attempt.id] = call
    runner.caller.expected, runner.claims._has_more = 1, True

    first, second = runner.claims._begin_pass(), runner.claims._begin_pass()

    assert (first.slots, second.slots) == (4, 3)
    assert call.mail.traits.size + first.bytes + second.bytes == claim.MOST_BYTES
    assert (first.share.quarantined, second.share.quarantined) == (1, 0)
    assert not runner.claims._can_begin()


def test_an_email_of_any_size_has_the_memory_for_itself(two_lanes):
    runner = Dispatcher(["text"], concurrency=8)
    runner.claims._has_more = True

    assert runner.claims._begin_pass().bytes == claim.MOST_BYTES
    assert not runner.claims._can_begin()


def test_no_second_pass_looks_for_what_the_last_one_did_not_leave(two_lanes):
    runner = Dispatcher(["text"], concurrency=8)

    runner.claims._begin_pass()

    assert not runner.claims._can_begin()


def test_the_pass_after_a_failure_of_the_database_is_of_the_same_claimer(olympus, monkeypatch):
    monkeypatch.setattr("mails.dispatch.claim_loop.DATABASE_PAUSE", 0.0)
    a_mail()
    claim_some, begun = Claimer.claim, []

    def fail_at_first(self, *arguments):
        begun.append(self)
        if len(begun) == 1:
            raise OperationalError("the connection is gone")
        return claim_some(self, *arguments)

    monkeypatch.setattr(Claimer, "claim", fail_at_first)

    assert event_loop.run(Dispatcher(["text"], concurrency=8).run(until_idle=True)) == 1

    assert begun[0] is begun[1]


def test_a_stop_waits_for_the_passes_in_flight(olympus, two_lanes, monkeypatch):
    for number in range(24):
        a_mail(subject=f"mail {number}")
    runner, claim_some, begun, third = Dispatcher(["text"], concurrency=8), Claimer.claim, [], threading.Event()

    def stop_in_company(self, *arguments):
        begun.append(self)
        if len(begun) == 2:
            third.wait(LONG)
        if len(begun) == 3:
            runner.stop()
            third.set()
        return claim_some(self, *arguments)

    async def send(self, account, message):
        await asyncio.sleep(0)
        return Accepted(provider_message_id="1", status_code=202)

    monkeypatch.setattr(Claimer, "claim", stop_in_company)
    monkeypatch.setattr(Sender, "send", send)

    done = event_loop.run(runner.run())

    assert len(begun) == 3
    assert done == Mail.objects.filter(status="done").count()
    assert not Mail.objects.filter(lease__isnull=False).exists()
