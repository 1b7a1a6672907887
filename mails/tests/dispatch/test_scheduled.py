"""Scheduled emails in the dispatcher: none is sent early, and each is looked for when it becomes due."""

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from mails.dispatch.accounts.account_pool import AccountPool
from mails.dispatch.claimer import SPREAD, Claimer
from mails.dispatch.dispatcher_settings import read_settings
from mails.dispatch.planner import POLL
from mails.lifecycle import writer
from mails.lifecycle.values import EventDraft, Step, read_state, release_lease
from mails.models import Mail, Rollup
from mails.reporting import system_status
from mails.states import Actor, Counted, EventName, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def a_scheduled_mail(**ahead):
    return a_mail(send_at=(database_clock.now() + dt.timedelta(**ahead)).isoformat())


def build_claimer(*queues):
    settings = read_settings("worker")
    return Claimer(queues or ("text",), AccountPool(concurrency=8, probe_lease=settings.lease), settings)


def make_due(mail):
    """Let its time be now, as if that time had passed."""
    now = database_clock.now()
    Mail.objects.filter(pk=mail.pk).update(send_at=now, next_attempt_at=now)


def test_a_scheduled_email_is_not_sent_before_its_time(olympus):
    mail = a_scheduled_mail(hours=1)

    assert dispatch() == 0

    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]


def test_a_scheduled_email_is_sent_at_its_time(olympus):
    mail = a_scheduled_mail(hours=1)
    make_due(mail)

    assert dispatch() == 1

    assert reloaded(mail).status == Status.DONE


def test_an_email_that_becomes_due_soon_ends_the_pause_between_two_looks(olympus):
    a_scheduled_mail(seconds=1)

    found = build_claimer().claim(8)

    assert found.calls == []
    assert 0 < found.look_again <= 1 + SPREAD.total_seconds()


def test_an_email_that_is_due_later_costs_no_look_of_its_own(olympus):
    a_scheduled_mail(days=100)

    assert build_claimer().claim(8).look_again == POLL


def test_an_email_behind_those_that_were_claimed_is_looked_for_soon(olympus):
    a_mail()
    a_scheduled_mail(seconds=1)

    found = build_claimer().claim(8)

    assert len(found.calls) == 1
    assert found.look_again < 1


def test_scheduled_emails_cost_an_idle_dispatcher_no_query(olympus):
    def count_queries():
        claimer = build_claimer()
        claimer.claim(8)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            claimer.claim(8)
        return len(queries)

    without = count_queries()
    for _ in range(3):
        a_scheduled_mail(days=100)

    assert count_queries() == without


@pytest.mark.parametrize("status", [Status.SENDING, Status.WAITING])
def test_a_dispatcher_does_not_move_an_email_that_was_rescheduled_since_it_was_read(olympus, status):
    mail = a_mail()
    read = read_state(mail)
    later = database_clock.now() + dt.timedelta(hours=1)
    Mail.objects.filter(pk=mail.pk).update(next_attempt_at=later)
    now_ns = database_clock.now_ns()
    after = release_lease(read, Status.WAITING, next_attempt_at=database_clock.from_ns(now_ns))
    if status == Status.SENDING:
        after = read._replace(status=Status.SENDING, lease=mail.pk, provider="olympus", attempt_count=1)
    event = EventDraft(event=EventName.DEQUEUE, by=Actor.DISPATCHER, at_ns=now_ns)

    won = writer.record([Step(mail_id=mail.pk, before=Status.QUEUED, fence=None, after=after, events=(event,))])

    assert won == set()
    assert reloaded(mail).next_attempt_at == later


def test_the_result_of_a_call_is_recorded_though_the_clock_went_back_to_before_its_email_was_due(olympus):
    mail = a_mail()
    later = database_clock.now() + dt.timedelta(hours=1)
    held = {"status": Status.SENDING, "lease": mail.pk, "lease_expires_at": later, "next_attempt_at": later}
    Mail.objects.filter(pk=mail.pk).update(**held)
    now_ns = database_clock.now_ns()
    after = release_lease(
        read_state(reloaded(mail)), Status.WAITING, next_attempt_at=database_clock.from_ns(now_ns + 30 * 10**9)
    )
    event = EventDraft(event=EventName.RETRY, by=Actor.DISPATCHER, at_ns=now_ns)

    won = writer.record([Step(mail_id=mail.pk, before=Status.SENDING, fence=mail.pk, after=after, events=(event,))])

    assert won == {mail.pk}


def test_figures_count_the_time_since_an_email_was_to_be_sent(olympus):
    mail = a_scheduled_mail(hours=1)
    Mail.objects.filter(pk=mail.pk).update(created_at=mail.created_at - dt.timedelta(days=90))
    make_due(mail)

    dispatch()

    assert Rollup.objects.get(kind=Counted.FIRST_SEND).total_us < 60_000_000


def test_the_system_status_tells_scheduled_emails_from_those_that_wait(olympus):
    a_scheduled_mail(days=2)
    first = a_scheduled_mail(days=1)

    found = system_status.read_system_status()

    text = next(queue for queue in found.queues if queue.queue == "text")
    assert (text.due, text.deferred, text.oldest) == (0, 0, None)
    assert (text.scheduled, text.next_scheduled_at) == (2, first.send_at)
    assert found.oldest_unsent is None
