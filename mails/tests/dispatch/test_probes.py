"""Which email serves as a breaker's one probe: one whose last failure was not one mailbox's, if there is one."""

import datetime as dt

import pytest

from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.steps.transitions import Result
from mails.models import Mail
from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mercury.lib.database import database_clock
from providers.models import Account, Breaker, BreakerState
from providers.outcomes import FailureClass, Refused

pytestmark = pytest.mark.django_db(transaction=True)

FULL = Refused(
    failure_class=FailureClass.RECIPIENT, reason_code="smtp-452", reason="452 4.2.2 Mailbox full", status_code=452
)


def due_for_a_probe(*names):
    past = database_clock.now() - dt.timedelta(seconds=1)
    accounts = Account.objects.filter(name__in=names)
    Breaker.objects.filter(account__in=accounts).update(state=BreakerState.OPEN, open_until=past, epoch=1, trips=1)


def refused_by_its_mailbox(number):
    """Older than every other, so that it would be claimed first."""
    mail = a_mail(subject=f"full {number}")
    long_due = database_clock.now() - dt.timedelta(minutes=5)
    Mail.objects.filter(pk=mail.pk).update(status=Status.WAITING, failure_class="recipient", next_attempt_at=long_due)
    return mail


def test_an_email_that_its_mailbox_refused_is_no_probe_while_another_waits(olympus):
    for number in range(5):
        refused_by_its_mailbox(number)
    other = a_mail(subject="other")
    due_for_a_probe("olympus")

    [call] = Dispatcher(["text"], concurrency=8).claimer.claim(8).calls

    assert call.mail.id == other.pk
    assert not Mail.objects.filter(failure_class="recipient", attempt_count__gt=0).exists()


def test_it_is_the_probe_where_there_is_no_other(olympus):
    mail = refused_by_its_mailbox(1)
    due_for_a_probe("olympus")

    [call] = Dispatcher(["text"], concurrency=8).claimer.claim(8).calls

    assert call.mail.id == mail.pk


def test_with_a_healthy_account_the_probe_falls_to_the_others_alone(olympus, hades):
    due_for_a_probe("olympus")
    for number in range(6):
        refused_by_its_mailbox(number)

    calls = Dispatcher(["text"], concurrency=16).claimer.claim(16).calls

    assert {call.account.name for call in calls} == {"hades"}


def test_a_mailbox_that_refuses_now_hands_no_probe_to_the_next_account(olympus, hades):
    mail = a_mail()
    Breaker.objects.filter(account__name="hades").update(mode="open")
    runner = Dispatcher(["text"], concurrency=8)
    [call] = runner.claimer.claim(8).calls
    assert call.account.name == "olympus"
    Breaker.objects.filter(account__name="hades").update(mode="auto")
    due_for_a_probe("hades")
    runner.pool.undo([])

    assert runner.recorder.record([Result(call=call, outcome=FULL, latency=0.1)]).calls == []

    assert (reloaded(mail).status, reloaded(mail).failure_class) == (Status.WAITING, "recipient")
    assert Breaker.objects.get(account__name="hades").state == BreakerState.OPEN
