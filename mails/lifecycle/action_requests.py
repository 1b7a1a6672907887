"""Action requests: what a person, an application or a late answer asks of an email, and what follows from that. Pure.

A request is carried out at once where no worker has claimed the email. During a call it is stored as the pending action,
and carried out when the call is closed. `compute_effect` alone decides what follows, so that dispatcher, sweeper and
`action_execution` all decide the same.
"""

import datetime as dt
import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mails.lifecycle.recipient_changes import NO_CHANGES, RecipientChanges
from mails.lifecycle.values import EventDraft, MailState, RecipientOutcome, Step, release_lease
from mails.models import Mail
from mails.schedule import Schedule
from mails.states import DUPLICATE, Action, DeliveryGuarantee, EventName, HoldReason, RecipientState, Status
from mercury.lib.database import database_clock
from mercury.lib.moments import format_iso
from providers.outcomes import FailureClass
from providers.routing.rules import NO_CONSTRAINT, RoutingConstraint

MAX_NAME = 64  # characters of an account's name


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChoice:
    """The accounts that a reprocessed email may use: all, only those without an attempt on record, or named ones."""

    not_tried: bool = False
    via: str = ""  # one account, or several separated by commas

    @property
    def names(self) -> tuple[str, ...]:
        """Return the accounts that are named."""
        return tuple(filter(None, self.via.split(",")))

    def as_text(self) -> str:
        """Return the choice as a bulk action keeps it."""
        return f"via:{self.via}" if self.via else "not-tried" if self.not_tried else ""

    @classmethod
    def parse(cls, text: str) -> "AccountChoice":
        """Return the choice that `as_text` wrote."""
        return cls(not_tried=text == "not-tried", via=text.removeprefix("via:") if text.startswith("via:") else "")

    @property
    def words(self) -> str:
        """Return the choice for people, as the end of a sentence."""
        if self.via:
            return f"through {' and '.join(self.names)} only"
        return "only through accounts not tried yet" if self.not_tried else "through all accounts"

    def constrain(self, tried: Collection[str]) -> RoutingConstraint:
        """Return the constraint of an email that these accounts were tried for."""
        return RoutingConstraint(via=self.via, excluded=tuple(sorted(tried)) if self.not_tried else ())

    def select_untried(self, tried: Collection[str], usable: Collection[str]) -> frozenset[str]:
        """Return the usable accounts that the choice names on purpose, and that have not heard of the email yet."""
        named = set(self.names) if self.via else set(usable) if self.not_tried else set()
        return frozenset(named.intersection(usable).difference(tried))


EVERY_ACCOUNT = AccountChoice()


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRequest:
    """An action requested of an email. `by`: who asked, as `created_by` has it.

    `account_choice`, `recipients`, `expires_at`: for a reprocess. `times`: for RESCHEDULE, which needs them, and
    for a reprocess that is to be sent later.
    """

    action: Action
    by: str
    note: str = ""
    service: str = ""  # the account whose late answer is the confirmation
    account_choice: AccountChoice = EVERY_ACCOUNT
    recipients: RecipientChanges = NO_CHANGES
    expires_at: dt.datetime | None = None  # None: as late as a new email
    times: Schedule | None = None

    def as_text(self) -> str:
        """Return the request as `Mail.pending_action` keeps it."""
        fields = {"action": self.action, "by": self.by, "note": self.note, "service": self.service}
        return json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> "ActionRequest":
        """Return the request that `as_text` wrote."""
        fields = json.loads(text)
        return cls(
            action=Action(fields["action"]),
            by=fields["by"],
            note=fields.get("note", ""),
            service=fields.get("service", ""),
        )

    def as_blob(self, **details: Any) -> dict[str, Any]:
        """Return the blob of its events: these details, and the note."""
        return details | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """An account's answer that came late: it accepted this email, at the attempt of this number."""

    mail_id: uuid.UUID
    account: str
    number: int


class HasOutcome(Protocol):
    """A recipient, whether it was loaded by the dispatcher or as a row."""

    @property
    def id(self) -> int: ...  # noqa: D102

    @property
    def address(self) -> str: ...  # noqa: D102

    @property
    def state(self) -> str: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Effect of a request: the state that follows, the events that say so, and recipients that it resolves."""

    after: MailState
    events: tuple[EventDraft, ...]
    recipients: tuple[RecipientOutcome, ...] = ()


def list_actions(mail: Mail) -> tuple[Action, ...]:
    """Return the actions that can be requested of the email in its present state."""
    match mail.status:
        case Status.QUEUED:
            return (Action.RESCHEDULE, Action.HOLD, Action.CANCEL)
        case Status.WAITING:
            return (Action.RETRY, Action.RESCHEDULE, Action.REPROCESS, Action.HOLD, Action.CANCEL)
        case Status.SENDING:
            return _list_during_call(mail.pending_action)
        case Status.HELD:
            resolve = (Action.SENT, Action.NOT_SENT) if mail.possible_duplicate else ()
            onward = () if needs_confirmation(mail) else (Action.RELEASE, Action.REPROCESS)
            return (*resolve, *onward, Action.CANCEL)
        case Status.DISCARDED | Status.EXPIRED:
            return () if mail.text_removed_at else (Action.REPROCESS,)
    return ()


def _list_during_call(pending_action: str) -> tuple[Action, ...]:
    if not pending_action:
        return (Action.HOLD, Action.CANCEL)
    return (
        ()
        if ActionRequest.parse(pending_action).action == Action.SENT
        else (Action.RELEASE, Action.HOLD, Action.CANCEL)
    )


def needs_confirmation(mail: Mail) -> bool:
    """Return True if the email is held, may have been sent, and must not be sent twice: only a confirmation moves it."""
    unknown = mail.reason_code == HoldReason.UNKNOWN or (
        mail.possible_duplicate and mail.delivery_guarantee == DeliveryGuarantee.AT_MOST_ONCE
    )
    return mail.status == Status.HELD and unknown


def compute_effect(
    action_request: ActionRequest,
    state: MailState,
    recipients: Iterable[HasOutcome],
    *,
    delivery_guarantee: str,
    now_ns: int,
    routing_constraint: RoutingConstraint = NO_CONSTRAINT,
    send_at: dt.datetime | None = None,
) -> Effect:
    """Return the effect of a request on an email in this state; whether it is possible is asked before.

    `routing_constraint`: that of its `account_choice` for this email. `send_at`: the time that it is not sent before.
    """
    effect = _compute_effect(action_request, state, list(recipients), delivery_guarantee, now_ns, routing_constraint)
    due_at = effect.after.next_attempt_at
    if due_at and send_at and send_at > due_at and action_request.action != Action.RESCHEDULE:
        return replace(effect, after=effect.after._replace(next_attempt_at=send_at))
    return effect


def _compute_effect(
    action_request: ActionRequest,
    state: MailState,
    listed: Sequence[HasOutcome],
    delivery_guarantee: str,
    now_ns: int,
    routing_constraint: RoutingConstraint,
) -> Effect:
    match action_request.action:
        case Action.CANCEL:
            return _cancel(action_request, state, listed, now_ns)
        case Action.HOLD:
            return _hold(action_request, state, now_ns)
        case Action.RELEASE:
            event = _draft_event(EventName.RELEASED, action_request, now_ns)
            return Effect(after=_requeue(state, now_ns, reason_code=""), events=(event,))
        case Action.RETRY:
            event = _draft_event(EventName.RELEASED, action_request, now_ns, action=Action.RETRY)
            return Effect(after=_requeue(state, now_ns), events=(event,))
        case Action.RESCHEDULE:
            return _reschedule(action_request, state, now_ns)
        case Action.REPROCESS:
            return _reprocess(action_request, state, listed, now_ns, routing_constraint)
        case Action.SENT:
            return _end_as_sent(action_request, state, listed, delivery_guarantee, now_ns)
        case Action.NOT_SENT:
            return _requeue_as_not_sent(action_request, state, now_ns)


def note_too_late(action_request: ActionRequest, step: Step) -> Step:
    """Return the step of an email that was sent after all, with a note that the request came too late."""
    *before, done = step.events
    if action_request.action == Action.SENT:  # an earlier attempt's late answer: now two were accepted
        duplicate = EventDraft(
            event=EventName.DUPLICATE,
            by=action_request.by,
            at_ns=done.at_ns,
            blob={"service": action_request.service, "info": action_request.note},
        )
        after = step.after._replace(reason_code=DUPLICATE)
        return replace(step, after=after, events=(*before, duplicate, done))
    blob = dict(done.blob) | {"too_late": {"action": action_request.action, "by": action_request.by}}
    return replace(step, events=(*before, replace(done, blob=blob)))


def list_recipients(recipients: Iterable[HasOutcome]) -> dict[str, Any]:
    """Return the recipients that were accepted and those that were refused, as the blob of DONE has them."""
    listed = list(recipients)
    return {
        "accepted": [recipient.address for recipient in listed if recipient.state == RecipientState.ACCEPTED],
        "refused": [
            {"address": recipient.address, "reason": recipient.reason}
            for recipient in listed
            if recipient.state == RecipientState.REFUSED
        ],
    }


def _draft_event(name: EventName, action_request: ActionRequest, now_ns: int, **details: Any) -> EventDraft:
    return EventDraft(event=name, by=action_request.by, at_ns=now_ns, blob=action_request.as_blob(**details))


def _requeue(state: MailState, now_ns: int, **changes: Any) -> MailState:
    now = database_clock.from_ns(now_ns)
    return release_lease(state, Status.QUEUED, next_attempt_at=now, finished_at=None, claims=0, **changes)


def _reschedule(action_request: ActionRequest, state: MailState, now_ns: int) -> Effect:
    """Let the email wait for another time. Its round, the accounts tried in it and its quarantine stay as they are."""
    times = action_request.times
    assert times is not None  # noqa: S101 (who asks for it gives them)
    due_at = max(times.send_at, database_clock.from_ns(now_ns))
    event = _draft_event(
        EventName.RESCHEDULED,
        action_request,
        now_ns,
        before=format_iso(state.next_attempt_at),
        send_at=format_iso(times.send_at),
        expires=format_iso(times.expires_at),
    )
    after = _requeue(state, now_ns)._replace(next_attempt_at=due_at, claims=state.claims)
    return Effect(after=after, events=(event,))


def _hold(action_request: ActionRequest, state: MailState, now_ns: int) -> Effect:
    """Hold the email; one that is held because its outcome is unknown stays so."""
    reason = state.reason_code if state.reason_code == HoldReason.UNKNOWN else HoldReason.OPERATOR
    event = _draft_event(EventName.HELD, action_request, now_ns, reason=HoldReason.OPERATOR)
    return Effect(after=release_lease(state, Status.HELD, reason_code=reason), events=(event,))


def _requeue_as_not_sent(action_request: ActionRequest, state: MailState, now_ns: int) -> Effect:
    """Resolve the unknown outcome as not sent: the email goes on with another account."""
    after = _requeue(
        state,
        now_ns,
        round=1,
        tried=(action_request.service or state.provider,),
        failure_classes=(str(FailureClass.PROVIDER),),
        possible_duplicate=False,
        reason_code="",
    )
    return Effect(
        after=after, events=(_draft_event(EventName.RESOLVED, action_request, now_ns, outcome=Action.NOT_SENT),)
    )


def _cancel(action_request: ActionRequest, state: MailState, recipients: Sequence[HasOutcome], now_ns: int) -> Effect:
    """End the email; where it was accepted for some recipients, give up the others only."""
    if not any(recipient.state == RecipientState.ACCEPTED for recipient in recipients):
        event = _draft_event(
            EventName.CANCELLED,
            action_request,
            now_ns,
            **({"possibly_sent": True} if state.possible_duplicate else {}),
        )
        finished_at = database_clock.from_ns(now_ns)
        after = release_lease(state, Status.CANCELLED, finished_at=finished_at, reason_code="cancelled")
        return Effect(after=after, events=(event,))
    reason = f"Cancelled: {action_request.note}" if action_request.note else "Cancelled."
    return _end(action_request, state, recipients, RecipientState.REFUSED, reason, now_ns)


def _end_as_sent(
    action_request: ActionRequest,
    state: MailState,
    recipients: Sequence[HasOutcome],
    delivery_guarantee: str,
    now_ns: int,
) -> Effect:
    """Resolve the unknown outcome as sent: every open recipient was accepted.

    At most once, an email with an unknown outcome was sent again by repeated requests alone, which add no copy.
    """
    twice = (
        state.possible_duplicate and state.attempt_count > 1 and delivery_guarantee != DeliveryGuarantee.AT_MOST_ONCE
    )
    resolved = _draft_event(EventName.RESOLVED, action_request, now_ns, outcome=Action.SENT)
    state = state._replace(possible_duplicate=twice)
    effect = _end(action_request, state, recipients, RecipientState.ACCEPTED, "", now_ns)
    return replace(effect, events=(resolved, *effect.events))


def _end(
    action_request: ActionRequest,
    state: MailState,
    recipients: Sequence[HasOutcome],
    others: RecipientState,
    reason: str,
    now_ns: int,
) -> Effect:
    """End the email as done, with this outcome for the recipients that are still open."""
    outcomes = {
        recipient.id: RecipientOutcome(id=recipient.id, state=others, reason=reason)
        for recipient in recipients
        if recipient.state == RecipientState.PENDING
    }
    resolved = [_ResolvedRecipient(recipient, outcomes.get(recipient.id)) for recipient in recipients]
    service = action_request.service or state.provider
    blob = {"service": service, **list_recipients(resolved), "possible_duplicate": state.possible_duplicate}
    after = release_lease(
        state,
        Status.DONE,
        finished_at=database_clock.from_ns(now_ns),
        failure_class="",
        reason_code="",
        provider=service,
    )
    event = EventDraft(event=EventName.DONE, by=action_request.by, at_ns=now_ns, blob=blob)
    return Effect(after=after, events=(event,), recipients=tuple(outcomes.values()))


class _ResolvedRecipient:
    """A recipient as it is once it is resolved."""

    def __init__(self, recipient: HasOutcome, outcome: RecipientOutcome | None) -> None:
        self.id, self.address = recipient.id, recipient.address
        self.state, self.reason = (outcome or recipient).state, (outcome or recipient).reason


def _reprocess(
    action_request: ActionRequest,
    state: MailState,
    recipients: Sequence[HasOutcome],
    now_ns: int,
    routing_constraint: RoutingConstraint,
) -> Effect:
    """Start from the beginning; recipients that were given up are open again, those accepted stay accepted."""
    changes, expires_at = action_request.recipients, action_request.expires_at
    named = {*changes.replacements, *changes.again}
    reopened = tuple(
        RecipientOutcome(id=recipient.id, state=RecipientState.PENDING)
        for recipient in recipients
        if recipient.address in named
        or recipient.state == RecipientState.SUPPRESSED
        or (recipient.state == RecipientState.REFUSED and state.status == Status.DISCARDED)
    )
    details = routing_constraint.to_blob() | changes.to_blob()
    if (times := action_request.times) is not None:
        details |= {"send_at": format_iso(times.send_at), "expires_at": format_iso(times.expires_at)}
    elif expires_at is not None:
        details["expires_at"] = format_iso(expires_at)
    event = _draft_event(EventName.REPROCESS, action_request, now_ns, before=state.status, **details)
    after = _requeue(state, now_ns, round=1, tried=(), failure_classes=(), failure_class="", reason_code="")
    if times is not None:
        after = after._replace(next_attempt_at=max(times.send_at, database_clock.from_ns(now_ns)))
    return Effect(after=after, events=(event,), recipients=reopened)
