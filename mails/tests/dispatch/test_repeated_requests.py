"""A request whose outcome is unknown is repeated where its idempotency key is known: the provider sends no second copy."""

import datetime as dt
import json
from dataclasses import replace

import pytest
from django.db.models import F

from mails.actions import apply
from mails.dispatch.accounts import account_pool
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.steps.transitions import Result
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from mails.maintenance import sweeper
from mails.message.mime import build_message
from mails.models import Attempt, Mail
from mails.states import Action, AttemptState, HoldReason, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail, event_names, reloaded
from mails.timeline.event_payload import EventPayload
from mails.timeline.event_text import describe_event
from mercury.lib.database import database_clock
from providers.health import breaker_store
from providers.kinds.idempotency import make_key
from providers.kinds.sandbox import SANDBOX
from providers.models import Account, BreakerMode
from providers.outcomes import Accepted, FailureClass, RecipientRefusal, Refused, Unknown
from providers.routing import repeats

pytestmark = pytest.mark.django_db(transaction=True)

BOTH = pytest.mark.parametrize("guarantee", ["at-least-once", "at-most-once"])
HOURS = 24
ACCEPTED = Accepted(provider_message_id="1", status_code=200)
LOST = Unknown(reason_code="connection-lost", reason="The connection was lost.")
DOWN = Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="Come back.", status_code=503)
INVALID = Refused(failure_class=FailureClass.MESSAGE, reason_code="http-422", reason="No.", status_code=422)
BUSY = Refused(failure_class=FailureClass.RATE, reason_code="http-409", reason="Busy.", repeat_in=5.0)


@pytest.fixture(autouse=True)
def _remembering(olympus, hades, monkeypatch):
    """Both accounts remember keys for a day. Only olympus is called first."""
    capabilities = replace(SANDBOX.capabilities, idempotency_hours=HOURS)
    monkeypatch.setattr(repeats, "KINDS", {"sandbox": replace(SANDBOX, capabilities=capabilities)})
    monkeypatch.setattr(account_pool, "FRESH", -1.0)  # each choice sees the accounts as they are
    hades.disable()


class Calls:
    """A dispatcher, and the calls that it has begun."""

    def __init__(self):
        self.runner = Dispatcher(["text"], concurrency=8)
        self.claim()

    def claim(self):
        self.last = self.runner.claimer.claim(8).calls

    def answer(self, *outcomes):
        """Answer each call that follows from the last one, until there is none or there are no more answers."""
        for outcome in outcomes:
            results = [Result(call=call, outcome=outcome, latency=0.1) for call in self.last]
            assert results, "no call is in progress"
            self.last = self.runner.recorder.record(results).calls
        return self

    def claim_later(self):
        Mail.objects.filter(status=Status.WAITING).update(next_attempt_at=database_clock.now())
        self.runner = Dispatcher(["text"], concurrency=8)  # it knows only what is stored
        self.claim()

    @property
    def accounts(self):
        return [call.account.name for call in self.last]


def attempts(mail):
    return [(attempt.account, attempt.state) for attempt in mail.attempts.order_by("number")]


def scopes(mail):
    """The attempt whose key each attempt had."""
    return [attempt.key_scope and int(attempt.key_scope.split("-")[0]) for attempt in mail.attempts.order_by("number")]


def forget():
    Attempt.objects.update(opened_at=F("opened_at") - dt.timedelta(hours=HOURS))


@BOTH
def test_it_is_repeated_at_once_at_the_same_account_and_is_no_possible_duplicate(guarantee, hades):
    mail = a_mail(delivery_guarantee=guarantee)
    calls = Calls()
    hades.enable()

    calls.answer(LOST)
    [call] = calls.last
    keys = {
        make_key(build_message(mail.pk, call.message, accepted_at=mail.created_at, key_scope=attempt.key_scope))
        for attempt in mail.attempts.all()
    }
    calls.answer(ACCEPTED)

    assert len(keys) == 1
    assert attempts(mail) == [("olympus", "unknown"), ("olympus", "accepted")]
    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, False)
    assert event_names(mail)[6:] == ["UNKNOWN", "RETRY", "READY TO SEND", "SEND", "DONE"]


@BOTH
def test_the_timeline_says_so(guarantee, hades):
    mail = a_mail(delivery_guarantee=guarantee)
    Calls().answer(LOST, ACCEPTED)

    described = [describe_event(mail, event, EventPayload(raw=event.blob)) for event in mail.events.all()[6:]]
    sentences = ["".join(entry.parts) for entry in described]

    assert "with the same idempotency key, so that the provider sends no second copy" in sentences[0]
    assert described[1].title == "Repeating the request"
    assert sentences[2] == "Repeats attempt 1 with the same idempotency key, so the provider sends no second copy"
    assert "repeats attempt 1 with the same idempotency key: the provider sends no second copy" in sentences[3]
    assert "Possible duplicate" not in sentences[4]


def test_at_least_once_goes_on_elsewhere_if_the_repeated_request_is_not_answered_either(hades):
    mail = a_mail()
    calls = Calls()
    hades.enable()

    calls.answer(LOST, LOST, ACCEPTED)

    assert attempts(mail) == [("olympus", "unknown"), ("olympus", "unknown"), ("hades", "accepted")]
    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, True)


def test_a_second_account_that_does_not_answer_holds_the_email(hades):
    mail = a_mail()
    calls = Calls()
    hades.enable()

    calls.answer(LOST, LOST, LOST)

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.UNKNOWN)


@pytest.mark.parametrize("outcome", [LOST, DOWN, INVALID])
def test_at_most_once_repeats_it_at_the_same_account_only(outcome, hades):
    mail = a_mail(delivery_guarantee="at-most-once")
    calls = Calls()
    hades.enable()

    calls.answer(LOST, outcome)
    is_over = outcome is INVALID  # which ends it, though it may have been sent; the flag says so
    if not is_over:
        assert reloaded(mail).status == Status.WAITING
        calls.claim_later()
        assert calls.accounts == ["olympus"]
        assert scopes(mail) == [1, 1, 1]
        calls.answer(ACCEPTED)

    assert {account for account, _ in attempts(mail)} == {"olympus"}
    assert reloaded(mail).possible_duplicate is is_over
    assert reloaded(mail).status == (Status.WAITING if is_over else Status.DONE)


@BOTH
def test_after_the_key_is_forgotten_the_delivery_guarantee_decides(guarantee, hades):
    mail = a_mail(delivery_guarantee=guarantee)
    calls = Calls().answer(LOST, DOWN)
    hades.enable()

    forget()
    calls.claim_later()

    if guarantee == "at-most-once":
        assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.UNKNOWN)
        assert "no longer recognize" in json.loads(mail.events.last().blob)["info"]
    else:
        assert calls.accounts == ["hades"]
        calls.answer(ACCEPTED)
        assert reloaded(mail).possible_duplicate


@BOTH
@pytest.mark.parametrize("claims", [True, False], ids=["dispatcher", "sweeper"])
def test_an_email_that_may_have_been_sent_expires_only_if_it_may_be_sent_twice(guarantee, claims, olympus):
    mail = a_mail(delivery_guarantee=guarantee)
    calls = Calls().answer(LOST, DOWN)
    Mail.objects.update(expires_at=database_clock.now())

    if claims:
        calls.claim_later()
    else:  # no dispatcher claims an email whose only account is disabled
        olympus.disable()
        sweeper.sweep()

    held = (Status.HELD, HoldReason.UNKNOWN)
    expected = held if guarantee == "at-most-once" else (Status.EXPIRED, "expired")
    assert (reloaded(mail).status, reloaded(mail).reason_code) == expected
    assert reloaded(mail).next_attempt_at is None


@BOTH
@pytest.mark.parametrize("change", ["another login", "deleted"])
def test_an_account_with_another_login_does_not_know_the_key(change, guarantee, hades, monkeypatch):
    mail = a_mail(delivery_guarantee=guarantee)
    calls = Calls().answer(LOST, DOWN)
    hades.enable()
    if change == "deleted":
        Account.objects.filter(name="olympus").delete()
    else:
        monkeypatch.setattr(repeats, "_hash_login", lambda account: "another")

    calls.claim_later()

    if guarantee == "at-most-once":
        assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.UNKNOWN)
    else:
        assert calls.accounts == ["hades"]
        assert scopes(mail) == [1, 1, 3]


@BOTH
def test_an_open_breaker_is_waited_for_only_if_no_other_account_may_send_it(guarantee, hades):
    mail = a_mail(delivery_guarantee=guarantee)
    calls = Calls().answer(LOST, DOWN)
    breaker_store.force("olympus", BreakerMode.OPEN, by="test")
    hades.enable()

    calls.claim_later()

    if guarantee == "at-most-once":
        assert (calls.last, reloaded(mail).status) == ([], Status.WAITING)
        breaker_store.force("olympus", BreakerMode.CLOSED, by="test")
        calls.claim_later()
        assert calls.accounts == ["olympus"]
    else:
        assert calls.accounts == ["hades"]


def test_an_account_that_recognizes_it_goes_first_also_later(hades):
    mail = a_mail()
    calls = Calls().answer(LOST, DOWN)
    hades.enable()

    calls.claim_later()
    calls.answer(ACCEPTED)

    assert attempts(mail)[-1] == ("olympus", "accepted")
    assert not reloaded(mail).possible_duplicate


def test_a_request_that_is_still_in_progress_is_repeated_later(hades):
    mail = a_mail()
    calls = Calls()
    hades.enable()

    calls.answer(LOST, BUSY)

    assert reloaded(mail).status == Status.WAITING
    wait = reloaded(mail).next_attempt_at - database_clock.now()
    assert dt.timedelta(seconds=3) < wait < dt.timedelta(seconds=6)
    calls.claim_later()
    assert calls.accounts == ["olympus"]
    calls.answer(ACCEPTED)
    assert not reloaded(mail).possible_duplicate


def test_the_request_in_progress_may_be_this_one_itself():
    mail = a_mail(delivery_guarantee="at-most-once")

    Calls().answer(BUSY, ACCEPTED)

    assert attempts(mail) == [("olympus", "unknown"), ("olympus", "accepted")]
    assert scopes(mail) == [1, 1]
    assert not reloaded(mail).possible_duplicate


def test_a_request_that_followed_a_refused_one_of_the_same_attempt_is_not_repeated():
    """Its recipients were others than those that a repeated attempt asks for first."""
    mail = a_mail(delivery_guarantee="at-most-once", recipient=[HERA, IRIS])

    Calls().answer(replace(LOST, is_first_request=False))

    assert (reloaded(mail).status, scopes(mail)) == (Status.HELD, [""])


def test_an_email_that_was_accepted_only_after_a_refused_request_stays_a_possible_duplicate():
    mail = a_mail(recipient=[HERA, IRIS])

    Calls().answer(LOST, replace(ACCEPTED, is_first_request=False))

    assert reloaded(mail).possible_duplicate


def test_recipients_left_by_another_account_are_no_repeated_request(hades):
    mail = a_mail(recipient=[HERA, IRIS])
    calls = Calls()
    hades.enable()
    later = RecipientRefusal(address=IRIS, reason="later", permanent=False)

    calls.answer(LOST, LOST, replace(ACCEPTED, refused=(later,)))
    calls.claim_later()

    assert (calls.accounts, scopes(mail)) == (["hades"], [1, 1, 3, 4])
    calls.answer(ACCEPTED)
    assert reloaded(mail).possible_duplicate


def test_recipients_that_a_repeated_request_left_have_a_key_of_their_own():
    mail = a_mail(recipient=[HERA, IRIS])
    rest = RecipientRefusal(address=IRIS, reason="enough", permanent=False, next_call=True)

    Calls().answer(LOST, replace(ACCEPTED, refused=(rest,)), ACCEPTED)

    assert scopes(mail) == [1, 1, 3]
    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, False)
    assert {recipient.state for recipient in mail.recipients.all()} == {RecipientState.ACCEPTED}


@BOTH
def test_the_call_of_a_dead_worker_is_repeated(guarantee, hades):
    mail = a_mail(delivery_guarantee=guarantee)
    Calls()
    hades.enable()

    assert sweeper.sweep() == {"queued again: outcome unknown": 1}
    calls = Calls().answer(ACCEPTED)

    assert calls.last == []
    assert attempts(mail) == [("olympus", "unknown"), ("olympus", "accepted")]
    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, False)


def test_a_second_dead_worker_leaves_no_second_copy():
    mail = a_mail(delivery_guarantee="at-most-once")
    Calls().answer(LOST)

    assert sweeper.sweep() == {"queued again: outcome unknown": 1}
    Calls().answer(ACCEPTED)

    assert attempts(mail) == [("olympus", "unknown"), ("olympus", "unknown"), ("olympus", "accepted")]
    assert not reloaded(mail).possible_duplicate


def test_the_call_of_a_dead_worker_to_several_recipients_may_have_been_several_requests():
    mail = a_mail(delivery_guarantee="at-most-once", recipient=[HERA, IRIS])
    Calls()

    assert sweeper.sweep() == {"held: outcome unknown": 1}

    assert scopes(mail) == [""]


def test_a_late_answer_to_the_first_request_is_no_duplicate(hades):
    mail = a_mail()
    first = Calls()
    sweeper.sweep()
    second = Calls()

    second.answer(ACCEPTED)
    first.answer(ACCEPTED)
    first.runner.recorder.record_late()

    assert attempts(mail) == [("olympus", "accepted"), ("olympus", "accepted")]
    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.DONE, "")
    assert "DUPLICATE" not in event_names(mail)


def test_a_late_answer_during_the_repeated_request_is_no_duplicate(hades):
    mail = a_mail()
    first = Calls()
    sweeper.sweep()
    second = Calls()

    first.answer(ACCEPTED)
    first.runner.recorder.record_late()
    second.answer(ACCEPTED)

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.DONE, "")
    assert not reloaded(mail).possible_duplicate
    assert "DUPLICATE" not in event_names(mail)


def test_an_email_that_is_sent_again_after_a_refusal_has_another_key():
    mail = a_mail()
    calls = Calls().answer(DOWN)

    calls.claim_later()

    assert scopes(mail) == [1, 2]


def test_a_person_cannot_send_it_through_another_account_at_most_once(hades):
    mail = a_mail(delivery_guarantee="at-most-once")
    calls = Calls().answer(LOST, DOWN)
    hades.enable()

    request = ActionRequest(action=Action.REPROCESS, by="hermes", account_choice=AccountChoice(via="hades"))
    apply.apply_action(mail.pk, request)
    calls.claim_later()

    assert (calls.last, reloaded(mail).status) == ([], Status.WAITING)
    forget()
    calls.claim_later()
    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.HELD, HoldReason.UNKNOWN)


def test_a_provider_without_keys_costs_no_scope(monkeypatch):
    monkeypatch.setattr(repeats, "KINDS", {"sandbox": SANDBOX})
    mail = a_mail()

    [call] = Calls().last

    assert scopes(mail) == [""]
    built = build_message(mail.pk, call.message, accepted_at=mail.created_at, key_scope=call.attempt.key_scope)
    assert "idempotency_scope" not in vars(built)
    assert mail.attempts.get().state == AttemptState.OPEN
