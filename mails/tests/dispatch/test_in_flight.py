"""A mail in flight under everything that may happen to it, in any order: what holds always, holds here after each step.

Two dispatchers take, hand over and close; leases are lost, answers come late; people cancel, hold, release, reprocess and
resolve; all sending or a queue is paused, an account disabled; one account remembers idempotency keys, and forgets them; clients
post reports. `--hypothesis-profile=long` takes 20,000 steps (CONTRIBUTING.md).
"""

import datetime as dt
import json
import math
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mails import pauses
from mails.actions import apply, pausing
from mails.actions.errors import ActionNotAllowed
from mails.dispatch.accounts import account_pool
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.steps.transitions import Result
from mails.lifecycle import action_execution, action_requests, writer
from mails.lifecycle.action_requests import ActionRequest
from mails.maintenance import sweeper
from mails.models import Attempt, Mail, Worker
from mails.queues import QueueName
from mails.schedule import Schedule
from mails.states import DUE, FINAL, TRANSITIONS, Action, AttemptState, EventName, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail
from mercury.lib.database import database_clock
from providers.accounts import registration
from providers.health import breaker_store
from providers.models import Account, BreakerMode
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, RecipientRefusal, Refused, Unknown
from providers.routing import repeats

STEPS, LONG = 400, 20_000
REMEMBERED = 24  # hours
DAY = dt.timedelta(days=1)
LATER = RecipientRefusal(address=IRIS, reason="later", permanent=False)
NEVER = RecipientRefusal(address=IRIS, reason="never", permanent=True)
OUTCOMES = (
    Accepted(provider_message_id="id", status_code=250),
    Accepted(provider_message_id="id", status_code=250, refused=(LATER,)),
    Accepted(provider_message_id="id", status_code=250, refused=(NEVER,)),
    Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="later", status_code=503),
    Refused(failure_class=FailureClass.MESSAGE, reason_code="http-400", reason="no", status_code=400),
    Refused(failure_class=FailureClass.ACCOUNT, reason_code="http-401", reason="who are you?", status_code=401),
    Refused(failure_class=FailureClass.RECIPIENT, reason_code="smtp-452", reason="mailbox full", status_code=452),
    *(NotAttempted(cause=cause, reason_code="not-called", reason="not made") for cause in Cause),
    Unknown(reason_code="read-timeout", reason="no answer"),
    Unknown(reason_code="read-timeout", reason="no answer", is_first_request=False),
    Refused(failure_class=FailureClass.RATE, reason_code="http-409", reason="busy", repeat_in=5.0),
)
REPORTS = ("DELIVERED", "BOUNCED", "OPENED", "DONE", "CANCELLED")

# The last event of Mercury's own hand, and the states that it leaves a mail in.
AGREES = {
    EventName.ENQUEUE: {Status.QUEUED},
    EventName.SEND: {Status.SENDING},
    EventName.DONE: {Status.DONE},
    EventName.RETRY: {Status.QUEUED, Status.WAITING},
    EventName.POSTPONED: {Status.WAITING},
    EventName.DISCARDED: {Status.DISCARDED},
    EventName.EXPIRED: {Status.EXPIRED},
    EventName.CANCELLED: {Status.CANCELLED},
    EventName.HELD: {Status.HELD},
    EventName.RELEASED: {Status.QUEUED},
    EventName.REPROCESS: {Status.QUEUED},
    EventName.RESOLVED: {Status.QUEUED},
}
STOPS = {EventName.CANCELLED, EventName.HELD, "ASKED cancel", "ASKED hold", "ASKED sent"}
GOES_ON = {EventName.RELEASED, EventName.REPROCESS, EventName.RESOLVED, "ASKED release"}


def _draw_times(action, pick):
    """When a rescheduled email is sent: at once, or tomorrow."""
    if action != Action.RESCHEDULE:
        return None
    now = database_clock.now()
    return Schedule(send_at=now if pick % 2 else now + DAY, expires_at=now + 2 * DAY)


class InFlight(RuleBasedStateMachine):
    """Mails, two dispatchers, and everyone who acts on the mails."""

    steps = 0

    def __init__(self):
        super().__init__()
        self.dispatchers = [Dispatcher(["text"], concurrency=8) for _ in range(2)]
        for dispatcher in self.dispatchers:
            dispatcher.heartbeat.write()
        self.mails, self.calls = [], []
        self.seen = {}  # mail -> its state and events after the last step
        self.attempts_when_held = None
        self.attempts_when_disabled = {}  # account -> attempts when it was disabled

    def teardown(self):
        Account.objects.update(enabled=True)
        pauses.resume(by="test")
        pauses.resume(QueueName.TEXT, by="test")
        freed = {"lease": None, "lease_expires_at": None, "next_attempt_at": None, "pending_action": ""}
        Mail.objects.exclude(status__in=FINAL).update(status=Status.CANCELLED, **freed)
        Worker.objects.all().delete()

    @rule(delivery_guarantee=st.sampled_from(["at-least-once", "at-most-once"]), two=st.booleans())
    def post(self, delivery_guarantee, two):
        self.mails.append(a_mail(recipient=[HERA, IRIS] if two else HERA, delivery_guarantee=delivery_guarantee).pk)

    @rule(which=st.integers(0, 1), free=st.integers(1, 4))
    def claim_and_send(self, which, free):
        self.calls += [(self.dispatchers[which], call) for call in self.dispatchers[which].claimer.claim(free).calls]

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 999), outcome=st.sampled_from(OUTCOMES))
    def close(self, pick, outcome):
        """An answer; late if the lease was lost before it came."""
        dispatch, call = self.calls.pop(pick % len(self.calls))
        self.calls += [
            (dispatch, then)
            for then in dispatch.recorder.record([Result(call=call, outcome=outcome, latency=0.01, put_off=600)]).calls
        ]

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 999))
    def lose_lease(self, pick):
        _, call = self.calls[pick % len(self.calls)]
        past = database_clock.now() - dt.timedelta(seconds=1)
        Mail.objects.filter(pk=call.mail.id, lease=call.attempt.lease).update(lease_expires_at=past)
        sweeper.sweep()

    @precondition(lambda self: self.mails)
    @rule(pick=st.integers(0, 999), action=st.sampled_from(list(Action)))
    def ask(self, pick, action):
        mail_id = self.mails[pick % len(self.mails)]
        before = Mail.objects.get(pk=mail_id)
        already = before.status in action_execution.ALREADY.get(action, ())
        try:
            apply.apply_action(mail_id, ActionRequest(action=action, by="hermes", times=_draw_times(action, pick)))
        except ActionNotAllowed:
            assert action not in action_requests.list_actions(before)
            assert not already
        else:
            assert already or action in action_requests.list_actions(before)

    @precondition(lambda self: self.mails)
    @rule(pick=st.integers(0, 999), name=st.sampled_from(REPORTS))
    def report(self, pick, name):
        mail = Mail.objects.get(pk=self.mails[pick % len(self.mails)])
        writer.append_client_event(mail, event=name, blob="", by="key:shop")
        assert Mail.objects.get(pk=mail.pk).status == mail.status

    @rule()
    def time_passes(self):
        Mail.objects.filter(pk__in=self.mails, status__in=DUE).update(next_attempt_at=database_clock.now())

    @precondition(lambda self: self.mails)
    @rule(pick=st.integers(0, 999))
    def forget_keys(self, pick):
        """The time is over for which the account remembers the keys of an email."""
        long_ago = database_clock.now() - dt.timedelta(hours=REMEMBERED)
        Attempt.objects.filter(mail=self.mails[pick % len(self.mails)]).update(opened_at=long_ago)

    @precondition(lambda self: self.mails)
    @rule(pick=st.integers(0, 999))
    def expire(self, pick):
        past = database_clock.now() - dt.timedelta(seconds=1)
        Mail.objects.filter(pk=self.mails[pick % len(self.mails)]).update(expires_at=past)
        sweeper.sweep()

    @rule(paused=st.booleans())
    def pause_or_resume_all_sending(self, paused):
        (pausing.pause_sending if paused else pausing.resume_sending)(by="hermes")
        self.note_attempts()

    @rule(paused=st.booleans())
    def pause_or_resume_the_queue(self, paused):
        (pausing.pause_sending if paused else pausing.resume_sending)(QueueName.TEXT, by="hermes")
        self.note_attempts()

    @rule(name=st.sampled_from(["olympus", "hades"]), enabled=st.booleans())
    def enable_or_disable_an_account(self, name, enabled):
        registration.update(Account.objects.get(name=name), enabled=enabled, by="hermes")
        self.attempts_when_disabled.pop(name, None)
        if not enabled:
            self.attempts_when_disabled[name] = Attempt.objects.filter(account=name).count()

    def note_attempts(self):
        """While nothing may leave, no mail may get another attempt."""
        if not pauses.load_active():
            self.attempts_when_held = None
        elif self.attempts_when_held is None:
            self.attempts_when_held = dict(Mail.objects.filter(pk__in=self.mails).values_list("pk", "attempt_count"))

    @invariant()
    def what_always_holds(self):
        type(self).steps += 1
        mails = Mail.objects.filter(pk__in=self.mails).prefetch_related("events", "attempts", "recipients")
        for mail in mails:
            events = [(event.id, event.event, event.created_by, event.blob) for event in mail.events.all()]
            status, recorded = self.seen.get(mail.pk, (Status.QUEUED, []))
            assert events[: len(recorded)] == recorded, "events are append-only"
            assert Status(mail.status) in reachable(Status(status)), f"{status} became {mail.status}"
            self.seen[mail.pk] = (mail.status, events)
            own = [(name, json.loads(blob or "{}")) for _, name, by, blob in events if by != "key:shop"]
            check_words(mail, [named(name, blob) for name, blob in own])
            check_copies(mail, own)
            check_attempts(mail)
            if self.attempts_when_held is not None:
                assert mail.attempt_count == self.attempts_when_held.get(mail.pk, 0), "sent while nothing may leave"
        for name, attempts in self.attempts_when_disabled.items():
            assert Attempt.objects.filter(account=name).count() == attempts, f"{name} is disabled and serves"


def reachable(status):
    """What one rule may make of a state: nothing, one change, or several on the way of a sweep or a call."""
    found, left = {status}, [status]
    while left:
        new = TRANSITIONS[left.pop()] - found
        found |= new
        left += new
    return found


def named(name, blob):
    """The event's name; for what was asked during a call also what that was."""
    return f"{name} {blob['action']}" if name == EventName.REQUESTED else name


def check_words(mail, names):
    """The events that Mercury itself recorded, against the state."""
    model = [name for name in names if name in AGREES]
    assert mail.status in AGREES[EventName(model[-1])], f"{model[-1]} and {mail.status} (of {names})"
    assert names.count(EventName.DONE) == (mail.status == Status.DONE), names
    stopped = False
    for name in names:
        stopped = name in STOPS or (stopped and name not in GOES_ON)
        assert not (stopped and name == EventName.SEND), f"sent after it was stopped: {names}"
    assert EventName.SEND not in names[names.index(EventName.CANCELLED) :] if EventName.CANCELLED in names else True
    if mail.status == Status.DONE:
        accepted = any(attempt.state == AttemptState.ACCEPTED for attempt in mail.attempts.all())
        assert accepted or EventName.RESOLVED in names, f"done without an attempt: {names}"
        assert all(recipient.state != RecipientState.PENDING for recipient in mail.recipients.all())


def check_copies(mail, events):
    """Nothing is sent once more by itself after as many unknown outcomes as its guarantee allows, except by a repeated request.

    An email that is done without a doubt has no unknown outcome but that of the request which the last one repeated.
    """
    guaranteed = allowed = 0 if mail.delivery_guarantee == "at-most-once" else 1
    keys, unknown = {}, set()  # attempt -> the attempt whose key it had; attempts whose outcomes are unknown
    for name, blob in events:
        copies = {keys[attempt] for attempt in unknown}
        if name == EventName.SEND:
            key = keys[blob["attempt"]] = blob.get("repeats", blob["attempt"])
            assert key in copies if "repeats" in blob else len(copies) <= allowed, f"one copy too many: {events}"
            assert "repeats" not in blob or blob["service"] == "olympus", f"hades remembers nothing: {events}"
        elif name == EventName.UNKNOWN:
            unknown.add(blob["attempt"])
        elif name == EventName.LATE_RESULT and blob["outcome"] != AttemptState.UNKNOWN:
            unknown.discard(blob["attempt"])
        elif name == EventName.RESOLVED:
            unknown, allowed = set(), guaranteed
        elif name in {EventName.RELEASED, EventName.REPROCESS}:  # a person lets it go out all the same
            allowed = max(guaranteed, len(copies))
        elif name == EventName.DONE and "attempt" in blob:
            in_doubt = copies - {keys[blob["attempt"]]}
            assert blob["possible_duplicate"] or not in_doubt, f"a silent duplicate: {events}"


def check_attempts(mail):
    """The calls on record, against the mail."""
    attempts = sorted(mail.attempts.all(), key=lambda one: one.number)
    assert [attempt.number for attempt in attempts] == list(range(1, mail.attempt_count + 1))
    still_open = [attempt for attempt in attempts if attempt.state == AttemptState.OPEN]
    if mail.status == Status.SENDING:
        assert [(attempt.number, attempt.lease) for attempt in still_open] == [(mail.attempt_count, mail.lease)]
    else:
        assert (still_open, mail.lease, mail.pending_action) == ([], None, "")


@pytest.mark.django_db(transaction=True)
def test_whatever_happens_in_whatever_order_what_must_hold_holds(olympus, hades, capsys, monkeypatch):
    monkeypatch.setattr(repeats, "_get_hours", lambda account: REMEMBERED if account.name == "olympus" else None)
    monkeypatch.setattr(
        account_pool, "FRESH", math.inf
    )  # what is read stays until it proves stale: no clock decides when
    for account in (olympus, hades):
        breaker_store.force(account.name, BreakerMode.CLOSED, by="test")
    long = settings.default.max_examples >= 1000
    wanted, began = LONG if long else STEPS, time.monotonic()
    bounds = settings(
        max_examples=100 if long else 10,
        stateful_step_count=50,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    InFlight.steps = 0

    while InFlight.steps < wanted:
        run_state_machine_as_test(InFlight, settings=bounds)

    with capsys.disabled():
        print(json.dumps({"steps": InFlight.steps, "seconds": round(time.monotonic() - began, 1)}))
