"""Unknown outcomes: resolved by a person, or by an answer that comes late."""

import pytest

from mails.actions.errors import ActionNotAllowed
from mails.dispatch.steps.transitions import Result
from mails.lifecycle import action_execution, action_requests
from mails.maintenance import sweeper
from mails.states import Action, AttemptState, HoldReason, Status
from mails.tests.builders import HERA, a_mail, dispatch, event_names, reloaded
from mails.tests.lifecycle.support import (
    ACCEPTED,
    REFUSED,
    CallsInProgress,
    find_first_account,
    read_last_blob,
    request_action,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def unknown(olympus, hades):
    """A mail that olympus may have sent, and that must not be sent twice."""
    olympus.lose_answer()
    hades.disable()
    mail = a_mail(delivery_guarantee="at-most-once")
    dispatch()
    hades.enable()
    olympus.behave()
    return mail


@pytest.mark.parametrize("action", [Action.RELEASE, Action.REPROCESS])
def test_an_unknown_outcome_is_only_resolved_never_sent_again(action, unknown):
    with pytest.raises(ActionNotAllowed, match="outcome unknown"):
        request_action(unknown, action)


def test_an_unknown_outcome_is_resolved_as_sent(unknown, hades):
    request_action(unknown, Action.SENT, note="it is in olympus' log")

    resolved = reloaded(unknown)
    assert (resolved.status, resolved.possible_duplicate, resolved.provider) == (Status.DONE, False, "olympus")
    assert event_names(unknown)[-2:] == ["RESOLVED", "DONE"]
    assert read_last_blob(unknown)["accepted"] == [HERA]
    assert hades.inbox() == []


def test_an_unknown_outcome_that_was_not_sent_goes_to_the_next_account(unknown, olympus, hades):
    request_action(unknown, Action.NOT_SENT)

    dispatch()

    assert (reloaded(unknown).status, reloaded(unknown).provider) == (Status.DONE, "hades")
    assert not reloaded(unknown).possible_duplicate
    assert len(hades.inbox()) == 1


def test_a_late_answer_resolves_an_email_that_is_held_for_it(olympus):
    mail = a_mail(delivery_guarantee="at-most-once")
    handed = CallsInProgress()
    sweeper.sweep()
    assert reloaded(mail).reason_code == HoldReason.UNKNOWN

    handed.answer(ACCEPTED)

    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, False)
    assert event_names(mail)[6:] == ["UNKNOWN", "HELD", "LATE RESULT", "RESOLVED", "DONE"]
    assert mail.attempts.get().state == AttemptState.ACCEPTED


def test_a_late_answer_keeps_a_mail_that_waits_from_being_sent_twice(olympus, hades):
    mail = a_mail()
    handed = CallsInProgress()
    sweeper.sweep()
    assert reloaded(mail).status == Status.QUEUED

    handed.answer(ACCEPTED)

    assert reloaded(mail).status == Status.DONE
    assert dispatch() == 0


def test_a_late_answer_during_another_call_stops_what_would_follow(olympus, hades):
    mail = a_mail()
    first = CallsInProgress()
    sweeper.sweep()
    second = CallsInProgress()

    first.answer(ACCEPTED)
    second.answer(REFUSED)

    assert (reloaded(mail).status, reloaded(mail).provider) == (Status.DONE, find_first_account(mail))
    assert event_names(mail)[-3:] == ["FAILURE", "RESOLVED", "DONE"]


def test_two_accepted_attempts_are_recorded_as_a_duplicate(olympus, hades):
    mail = a_mail()
    first = CallsInProgress()
    sweeper.sweep()
    second = CallsInProgress()

    first.answer(ACCEPTED)
    second.answer(ACCEPTED)

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.DONE, "duplicate")
    assert event_names(mail)[-2:] == ["DUPLICATE", "DONE"]


def test_a_late_answer_for_a_mail_that_another_sent_is_a_duplicate_once(olympus, hades):
    mail = a_mail()
    first = CallsInProgress()
    sweeper.sweep()
    second = CallsInProgress()

    second.answer(ACCEPTED)
    first.answer(ACCEPTED)
    action_execution.apply_confirmations([action_requests.Confirmation(mail_id=mail.pk, account="olympus", number=1)])

    assert reloaded(mail).reason_code == "duplicate"
    assert event_names(mail).count("DUPLICATE") == 1
    assert event_names(mail).count("DONE") == 1


def test_a_late_answer_that_was_written_before_is_no_duplicate(olympus):
    mail = a_mail()
    handed = CallsInProgress()
    calls = handed.calls
    handed.dispatch.recorder.record([Result(call=call, outcome=ACCEPTED, latency=0.1) for call in calls])

    handed.calls = calls
    handed.answer(ACCEPTED)

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.DONE, "")
