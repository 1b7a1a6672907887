"""The one writer: fences, groups, and events that the database itself protects."""

import datetime as dt
import uuid
from dataclasses import replace

import pytest
from django.db import DatabaseError, connection, transaction

from mails.lifecycle import writer
from mails.lifecycle.values import (
    STATE_COLUMNS,
    AttemptClosed,
    AttemptOpened,
    EventDraft,
    IllegalTransition,
    MailState,
    Step,
    parse_state,
)
from mails.models import Attempt, Event, Mail, uuid7
from mails.states import AttemptState, EventName, Status
from mails.tests.builders import a_mail, event_names, reloaded
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db

HELD = MailState(status=Status.HELD, reason_code="operator")


def hold(mail, *, fence=None):
    event = EventDraft(event=EventName.HELD, by="hermes", at_ns=database_clock.now_ns(), blob={"info": "why"})
    return Step(mail_id=mail.pk, before=Status.QUEUED, fence=fence, after=HELD, events=(event,))


def test_a_step_changes_the_mail_and_records_its_event():
    mail = a_mail()

    assert writer.record([hold(mail)]) == {mail.pk}

    assert reloaded(mail).status == Status.HELD
    assert mail.events.last().blob == '{"info": "why"}'


def test_a_step_from_another_state_changes_nothing():
    mail = a_mail()
    writer.record([hold(mail)])

    assert writer.record([hold(mail)]) == set()

    assert event_names(mail).count("HELD") == 1


def test_a_step_under_another_lease_changes_nothing():
    mail = a_mail()

    assert writer.record([hold(mail, fence=uuid.uuid4())]) == set()

    assert reloaded(mail).status == Status.QUEUED


def test_in_a_group_the_losers_do_not_hinder_the_winners():
    first, second = a_mail(), a_mail()
    writer.record([hold(first)])

    assert writer.record([hold(first), hold(second)]) == {second.pk}


def test_a_group_costs_the_same_number_of_statements_whatever_its_size(django_assert_num_queries):
    steps = [hold(a_mail(subject=str(number))) for number in range(50)]
    statements = 2 + (connection.vendor == "sqlite")  # update, figures and events (as one on PostgreSQL)

    with django_assert_num_queries(statements):
        writer.record(steps)


def test_a_transition_that_may_not_be_is_a_bug_and_writes_nothing():
    mail = a_mail()
    step = Step(mail_id=mail.pk, before=Status.QUEUED, fence=None, after=MailState(status=Status.REJECTED))

    with pytest.raises(IllegalTransition):
        writer.record([step])

    assert reloaded(mail).status == Status.QUEUED


def test_a_state_in_nobodys_hand_carries_no_lease():
    mail = a_mail()
    step = Step(mail_id=mail.pk, before=Status.QUEUED, fence=None, after=HELD._replace(lease=uuid.uuid4()))

    with pytest.raises(IllegalTransition):
        writer.record([step])


@pytest.mark.parametrize("statement", ["UPDATE mails_event SET event = 'DONE'", "DELETE FROM mails_event"])
def test_the_database_refuses_to_change_or_delete_an_event(statement):
    a_mail()

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert Event.objects.count() == 3


def test_the_database_refuses_two_attempts_with_one_number():
    mail = a_mail()
    values = {"mail": mail, "number": 1, "account": "olympus", "lease": uuid.uuid4()}
    Attempt.objects.create(**values, opened_at=database_clock.now())

    with pytest.raises(DatabaseError), transaction.atomic():
        Attempt.objects.create(**values, opened_at=database_clock.now())


def test_the_database_refuses_a_lease_on_a_mail_in_nobodys_hand():
    mail = a_mail()

    with pytest.raises(DatabaseError), transaction.atomic():
        Mail.objects.filter(pk=mail.pk).update(lease=uuid.uuid4())


def attempt_of(mail, state=AttemptState.OPEN):
    return Attempt.objects.create(
        id=uuid7(),
        mail=mail,
        number=1,
        account="olympus",
        lease=uuid.uuid4(),
        opened_at=database_clock.now(),
        state=state,
    )


@pytest.mark.parametrize(
    ("before", "reported", "after"),
    [
        (AttemptState.OPEN, AttemptState.ACCEPTED, AttemptState.ACCEPTED),
        (AttemptState.UNKNOWN, AttemptState.ACCEPTED, AttemptState.ACCEPTED),
        (AttemptState.UNKNOWN, AttemptState.REFUSED, AttemptState.REFUSED),
        (AttemptState.ACCEPTED, AttemptState.UNKNOWN, AttemptState.ACCEPTED),
        (AttemptState.ACCEPTED, AttemptState.REFUSED, AttemptState.ACCEPTED),
        (AttemptState.REFUSED, AttemptState.ACCEPTED, AttemptState.REFUSED),
    ],
)
def test_a_late_result_closes_what_is_open_or_unknown_and_nothing_else(before, reported, after):
    mail = a_mail()
    attempt = attempt_of(mail, before)
    closed = AttemptClosed(id=attempt.pk, state=reported, closed_at=database_clock.now(), latency_ms=5)
    event = EventDraft(event=EventName.LATE_RESULT, by="olympus", at_ns=database_clock.now_ns())

    writer.record_late([(mail.pk, closed, event)])

    attempt.refresh_from_db()
    assert attempt.state == after
    assert event_names(mail)[-1] == "LATE RESULT"
    assert reloaded(mail).status == Status.QUEUED


def test_every_column_survives_the_journey_through_a_step():
    mail = a_mail()
    moment = dt.datetime(2026, 11, 24, 3, 0, 0, 120_000, tzinfo=dt.UTC)
    token = uuid.uuid4()
    sending = MailState(
        status=Status.SENDING,
        next_attempt_at=moment,
        round=2,
        tried=("olympus", "hades"),
        failure_classes=("rate",),
        attempt_count=3,
        possible_duplicate=True,
        failure_class="rate",
        reason_code="http-429",
        provider="hades",
        lease=token,
        lease_expires_at=moment,
        worker="one",
        claims=1,
    )
    writer.record([Step(mail_id=mail.pk, before=Status.QUEUED, fence=None, after=sending)])

    opened = AttemptOpened(id=uuid7(), number=4, account="hades", lease=token, opened_at=moment)
    step = Step(mail_id=mail.pk, before=Status.SENDING, fence=token, after=sending, opened=opened, attempts=3)
    assert writer.record([replace(step, attempts=2)]) == set()
    assert writer.record([step]) == {mail.pk}

    row = Mail.objects.values_list(*STATE_COLUMNS).get(pk=mail.pk)
    assert parse_state(row) == sending
    assert mail.attempts.get().opened_at == moment
