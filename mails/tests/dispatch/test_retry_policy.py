"""The retry policy, case by case."""

import datetime as dt

import pytest

from mails.dispatch.retry_policy import (
    Discard,
    Done,
    Hold,
    HoldAsPoison,
    PutOff,
    Repeat,
    Requeue,
    SendRest,
    TryNext,
    Wait,
    choose_next_step,
    describe_after_unknown,
    is_provider_failure,
    wait_or_discard,
)
from mails.states import DeliveryGuarantee
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, RecipientRefusal, Refused, Unknown

TWICE, ONCE = DeliveryGuarantee.AT_LEAST_ONCE, DeliveryGuarantee.AT_MOST_ONCE
ACCEPTED = Accepted(provider_message_id="1", status_code=202)
DOWN = Refused(
    failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="503 Service Unavailable", status_code=503
)
LOST = Unknown(reason_code="connection-lost", reason="connection lost")
BACKOFF = (dt.timedelta(seconds=30), dt.timedelta(minutes=2))


@pytest.mark.parametrize(
    ("outcome", "delivery_guarantee", "possible_duplicate", "step"),
    [
        (ACCEPTED, TWICE, False, Done()),
        (ACCEPTED, ONCE, True, Done()),
        (
            Accepted(
                provider_message_id="1",
                status_code=250,
                refused=(RecipientRefusal(address="a@b.co", reason="550", permanent=True),),
            ),
            TWICE,
            False,
            Done(),
        ),
        (DOWN, TWICE, True, TryNext(failure_class=FailureClass.PROVIDER, reason=DOWN.reason)),
        (DOWN, ONCE, False, TryNext(failure_class=FailureClass.PROVIDER, reason=DOWN.reason)),
        (LOST, TWICE, False, TryNext(failure_class=FailureClass.PROVIDER, reason=LOST.reason)),
        (LOST, TWICE, True, Hold(LOST.reason)),
        (LOST, ONCE, False, Hold(LOST.reason)),
    ],
)
def test_the_next_step_follows_the_outcome(outcome, delivery_guarantee, possible_duplicate, step):
    assert choose_next_step(outcome, delivery_guarantee, possible_duplicate=possible_duplicate, local_wait=4.0) == step


@pytest.mark.parametrize(
    ("delivery_guarantee", "possible_duplicate", "step", "words"),
    [
        (TWICE, False, Repeat(LOST.reason), "same account"),
        (ONCE, False, Repeat(LOST.reason), "same account"),
        (TWICE, True, TryNext(failure_class=FailureClass.PROVIDER, reason=LOST.reason), "next account"),
        (ONCE, True, TryNext(failure_class=FailureClass.PROVIDER, reason=LOST.reason), "same account"),
    ],
)
def test_a_request_that_its_account_recognizes_is_repeated_there_first(
    delivery_guarantee, possible_duplicate, step, words
):
    after = {"possible_duplicate": possible_duplicate, "is_repeatable": True}

    assert choose_next_step(LOST, delivery_guarantee, local_wait=4.0, **after) == step
    assert describe_after_unknown(delivery_guarantee, **after) == words


def test_a_request_that_is_still_in_progress_is_repeated_after_a_wait():
    busy = Refused(failure_class=FailureClass.RATE, reason_code="http-409", reason="busy", repeat_in=7.0)

    assert choose_next_step(busy, ONCE, possible_duplicate=True, local_wait=4.0) == PutOff(reason="busy", seconds=7.0)


@pytest.mark.parametrize(
    ("cause", "step"),
    [
        (Cause.WORKER, Requeue("why")),
        (Cause.MACHINE, PutOff(reason="why", seconds=4.0)),
        (Cause.EMAIL, HoldAsPoison("why")),
        (Cause.MESSAGE, TryNext(failure_class=FailureClass.MESSAGE, reason="why")),
        (Cause.ACCOUNT, TryNext(failure_class=FailureClass.ACCOUNT, reason="why")),
        (Cause.CAPACITY, TryNext(failure_class=FailureClass.RATE, reason="why")),
    ],
)
def test_what_was_not_attempted_goes_where_its_cause_sends_it_even_if_an_earlier_outcome_is_unknown(cause, step):
    outcome = NotAttempted(cause=cause, reason_code="not-called", reason="why")

    for possible_duplicate in (False, True):
        assert choose_next_step(outcome, ONCE, possible_duplicate=possible_duplicate, local_wait=4.0) == step


def test_an_account_without_room_for_a_connection_leaves_the_email_to_any_account_at_once():
    full = Refused(failure_class=FailureClass.RATE, reason_code="smtp-421", reason="full", at_capacity=True)

    assert choose_next_step(full, TWICE, possible_duplicate=False, local_wait=4.0) == PutOff(reason="full", seconds=0.0)


DAY = 86_400.0


@pytest.mark.parametrize(
    ("refused", "step"),
    [
        (
            [("450", FailureClass.RECIPIENT, False)],
            TryNext(failure_class=FailureClass.RECIPIENT, reason="1 recipient to be retried: 450"),
        ),
        (
            [("450", FailureClass.RECIPIENT, False), ("554", FailureClass.ACCOUNT, False)],
            TryNext(failure_class=FailureClass.ACCOUNT, reason="2 recipients to be retried: 450"),
        ),
        ([("452", FailureClass.RECIPIENT, True)], SendRest("1 recipient left for another request: 452")),
        (
            [("450", FailureClass.RECIPIENT, False), ("452", FailureClass.RECIPIENT, True)],
            SendRest("2 recipients left for another request: 450"),
        ),
    ],
)
def test_recipients_that_are_left_go_to_the_next_account_or_another_request(refused, step):
    refusals = tuple(
        RecipientRefusal(
            address=f"{number}@b.co", reason=reason, permanent=False, failure_class=failure_class, next_call=next_call
        )
        for number, (reason, failure_class, next_call) in enumerate(refused)
    )

    assert (
        choose_next_step(
            Accepted(provider_message_id="1", status_code=250, refused=refusals),
            TWICE,
            possible_duplicate=False,
            local_wait=1.0,
        )
        == step
    )


def decide(failure_classes, *, round_number=1, free_in=None, jitter=0.0, attempts=1, time_left=3 * DAY):
    return wait_or_discard(
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
def test_the_mildest_failure_class_decides(failure_class):
    assert decide([FailureClass.MESSAGE, failure_class]) == Wait(seconds=30.0, begins_round=True, retries_all=True)


@pytest.mark.parametrize(
    "failure_classes", [[FailureClass.RATE], [FailureClass.LOCAL], [FailureClass.LOCAL, FailureClass.RATE]]
)
def test_rate_limits_and_local_trouble_alone_begin_no_round(failure_classes):
    assert decide(failure_classes, round_number=5) == Wait(seconds=30.0, begins_round=False, retries_all=True)


def test_failures_of_the_message_alone_discard_it():
    assert isinstance(decide([FailureClass.MESSAGE]), Discard)


def test_an_account_that_was_not_asked_yet_is_waited_for_without_a_new_round():
    assert decide([FailureClass.MESSAGE], free_in=26.0) == Wait(seconds=26.0, begins_round=False, retries_all=False)
    assert decide([], free_in=26.0, jitter=-0.5) == Wait(seconds=26.5, begins_round=False, retries_all=False)


def test_without_any_account_the_email_waits():
    assert decide([]) == Wait(seconds=60.0, begins_round=False, retries_all=False)


@pytest.mark.parametrize(("round_number", "seconds"), [(1, 30.0), (2, 120.0), (4, 120.0)])
def test_rounds_wait_longer_and_the_last_wait_repeats(round_number, seconds):
    assert decide([FailureClass.PROVIDER], round_number=round_number) == Wait(
        seconds=seconds, begins_round=True, retries_all=True
    )


def test_jitter_is_a_fifth_of_the_wait():
    assert decide([FailureClass.PROVIDER], jitter=1.0) == Wait(seconds=36.0, begins_round=True, retries_all=True)
    assert decide([FailureClass.PROVIDER], jitter=-1.0) == Wait(seconds=24.0, begins_round=True, retries_all=True)


def test_no_count_of_rounds_ends_a_deferral():
    assert decide([FailureClass.PROVIDER], round_number=500) == Wait(seconds=120.0, begins_round=True, retries_all=True)


@pytest.mark.parametrize(
    ("time_left", "seconds"),
    [(181.0, 120.0), (180.0, 120.0), (179.0, 119.0), (120.0, 60.0), (119.0, 119.0), (5.0, 5.0)],
)
def test_the_last_try_is_a_minute_before_the_email_expires(time_left, seconds):
    assert decide([FailureClass.PROVIDER], round_number=9, time_left=time_left).seconds == seconds


@pytest.mark.parametrize("failure_class", [FailureClass.PROVIDER, FailureClass.RATE])
def test_an_email_with_a_thousand_attempts_is_tried_once_an_hour(failure_class):
    assert decide([failure_class], attempts=999).seconds == 30.0
    assert decide([failure_class], attempts=1000).seconds == 3600.0


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (ACCEPTED, False),
        (DOWN, True),
        (LOST, True),
        (Refused(failure_class=FailureClass.MESSAGE, reason_code="http-400", reason=""), False),
        (Refused(failure_class=FailureClass.ACCOUNT, reason_code="http-401", reason=""), False),
        (Refused(failure_class=FailureClass.RECIPIENT, reason_code="smtp-452", reason=""), False),
        (Refused(failure_class=FailureClass.RATE, reason_code="http-429", reason=""), False),
        (NotAttempted(cause=Cause.MACHINE, reason_code="no-descriptors", reason=""), False),
    ],
)
def test_only_provider_failures_count_towards_the_breaker(outcome, counts):
    assert is_provider_failure(outcome) is counts
