"""What follows an outcome, case by case."""

import datetime as dt

import pytest

from mails.dispatch.retry_policy import (
    Again,
    Discard,
    Done,
    GoOn,
    Hold,
    Wait,
    is_providers_fault,
    next_step,
    when_no_account_is_left,
)
from mails.states import DeliveryGuarantee
from providers.outcomes import Accepted, FailureClass, RecipientRefusal, Refused, Unknown

TWICE, ONCE = DeliveryGuarantee.AT_LEAST_ONCE, DeliveryGuarantee.AT_MOST_ONCE
TAKEN = Accepted("1", 202)
DOWN = Refused(FailureClass.PROVIDER, "http-503", "503 Service Unavailable", 503)
LOST = Unknown("connection-lost", "connection lost")
BACKOFF = (dt.timedelta(seconds=30), dt.timedelta(minutes=2))


@pytest.mark.parametrize(
    ("outcome", "delivery_guarantee", "possible_duplicate", "step"),
    [
        (TAKEN, TWICE, False, Done()),
        (TAKEN, ONCE, True, Done()),
        (Accepted("1", 250, (RecipientRefusal("a@b.co", "550", permanent=True),)), TWICE, False, Done()),
        (DOWN, TWICE, True, GoOn(FailureClass.PROVIDER, DOWN.reason)),
        (DOWN, ONCE, False, GoOn(FailureClass.PROVIDER, DOWN.reason)),
        (LOST, TWICE, False, GoOn(FailureClass.PROVIDER, LOST.reason)),
        (LOST, TWICE, True, Hold(LOST.reason)),
        (LOST, ONCE, False, Hold(LOST.reason)),
    ],
)
def test_after_a_call(outcome, delivery_guarantee, possible_duplicate, step):
    assert next_step(outcome, delivery_guarantee, possible_duplicate=possible_duplicate) == step


DAY = 86_400.0


@pytest.mark.parametrize(
    ("refused", "step"),
    [
        ([("450", FailureClass.RECIPIENT, False)], GoOn(FailureClass.RECIPIENT, "1 recipient to be tried again: 450")),
        (
            [("450", FailureClass.RECIPIENT, False), ("554", FailureClass.ACCOUNT, False)],
            GoOn(FailureClass.ACCOUNT, "2 recipients to be tried again: 450"),
        ),
        ([("452", FailureClass.RECIPIENT, True)], Again("1 recipient left for a further call: 452")),
        (
            [("450", FailureClass.RECIPIENT, False), ("452", FailureClass.RECIPIENT, True)],
            Again("2 recipients left for a further call: 450"),
        ),
    ],
)
def test_after_a_call_that_some_recipients_are_left_from(refused, step):
    left_over = tuple(
        RecipientRefusal(f"{number}@b.co", reason, permanent=False, failure_class=failure_class, next_call=next_call)
        for number, (reason, failure_class, next_call) in enumerate(refused)
    )

    assert next_step(Accepted("1", 250, left_over), TWICE, possible_duplicate=False) == step


def left(failure_classes, *, round_number=1, free_in=None, jitter=0.0, attempts=1, time_left=3 * DAY):
    return when_no_account_is_left(
        failure_classes=failure_classes,
        round_number=round_number,
        attempts=attempts,
        time_left=time_left,
        backoff=BACKOFF,
        account_free_in=free_in,
        jitter=jitter,
    )


@pytest.mark.parametrize(
    "failure_class",
    [FailureClass.ACCOUNT, FailureClass.RECIPIENT, FailureClass.RATE, FailureClass.PROVIDER, FailureClass.LOCAL],
)
def test_the_mildest_fault_decides(failure_class):
    assert left([FailureClass.MESSAGE, failure_class]) == Wait(30.0, new_round=True, afresh=True)


@pytest.mark.parametrize(
    "failure_classes", [[FailureClass.RATE], [FailureClass.LOCAL], [FailureClass.LOCAL, FailureClass.RATE]]
)
def test_rate_limits_and_this_machines_trouble_alone_begin_no_round(failure_classes):
    assert left(failure_classes, round_number=5) == Wait(30.0, new_round=False, afresh=True)


def test_faults_of_the_message_alone_discard_it():
    assert isinstance(left([FailureClass.MESSAGE]), Discard)


def test_an_account_that_was_not_asked_yet_is_waited_for_without_a_new_round():
    assert left([FailureClass.MESSAGE], free_in=26.0) == Wait(26.0, new_round=False, afresh=False)
    assert left([], free_in=26.0, jitter=-0.5) == Wait(26.5, new_round=False, afresh=False)


def test_with_no_account_at_all_the_mail_waits():
    assert left([]) == Wait(60.0, new_round=False, afresh=False)


@pytest.mark.parametrize(("round_number", "seconds"), [(1, 30.0), (2, 120.0), (4, 120.0)])
def test_rounds_wait_longer_and_the_last_wait_repeats(round_number, seconds):
    assert left([FailureClass.PROVIDER], round_number=round_number) == Wait(seconds, new_round=True, afresh=True)


def test_jitter_is_a_fifth_of_the_wait():
    assert left([FailureClass.PROVIDER], jitter=1.0) == Wait(36.0, new_round=True, afresh=True)
    assert left([FailureClass.PROVIDER], jitter=-1.0) == Wait(24.0, new_round=True, afresh=True)


def test_no_count_of_rounds_ends_a_deferral():
    assert left([FailureClass.PROVIDER], round_number=500) == Wait(120.0, new_round=True, afresh=True)


@pytest.mark.parametrize(
    ("time_left", "seconds"),
    [(181.0, 120.0), (180.0, 120.0), (179.0, 119.0), (120.0, 60.0), (119.0, 119.0), (5.0, 5.0)],
)
def test_the_last_try_is_a_minute_before_the_end(time_left, seconds):
    assert left([FailureClass.PROVIDER], round_number=9, time_left=time_left).seconds == seconds


@pytest.mark.parametrize("failure_class", [FailureClass.PROVIDER, FailureClass.RATE])
def test_a_mail_that_was_tried_a_thousand_times_is_tried_once_an_hour(failure_class):
    assert left([failure_class], attempts=999).seconds == 30.0
    assert left([failure_class], attempts=1000).seconds == 3600.0


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (TAKEN, False),
        (DOWN, True),
        (LOST, True),
        (Refused(FailureClass.MESSAGE, "http-400", ""), False),
        (Refused(FailureClass.ACCOUNT, "http-401", ""), False),
        (Refused(FailureClass.RECIPIENT, "smtp-452", ""), False),
        (Refused(FailureClass.RATE, "http-429", ""), False),
        (Refused(FailureClass.LOCAL, "no-descriptors", ""), False),
    ],
)
def test_only_faults_of_the_provider_count_towards_its_breaker(outcome, counts):
    assert is_providers_fault(outcome) is counts
