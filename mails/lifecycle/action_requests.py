"""Orders: what is asked of a mail in flight, by a person, an application or evidence that came late.

An order is carried out at once where nobody holds the mail. During a call it is stored as a pending action, and carried out when
the call is closed. `upshot` alone says what it comes to, so that dispatch, sweeper and doors all say the same.
"""

import datetime as dt
import json
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from django.conf import settings
from django.db import transaction

from mails.lifecycle import writer
from mails.lifecycle.values import EventDraft, MailState, RecipientOutcome, Step, read_state, release_lease
from mails.models import Attempt, Mail
from mails.states import (
    DUPLICATE,
    NEVER_CALLED,
    Action,
    DeliveryGuarantee,
    EventName,
    HoldReason,
    RecipientState,
    Status,
)
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.outcomes import FailureClass
from providers.routing.rules import NO_CONSTRAINT, RoutingConstraint

ALREADY = {
    Action.CANCEL: {Status.CANCELLED},
    Action.HOLD: {Status.HELD},
    Action.SENT: {Status.DONE},
}
_UNSETTLED = frozenset({Status.QUEUED, Status.WAITING, Status.SENDING, Status.HELD})
_LATE = "Its answer came late: it took the mail."
MAX_NAME = 64  # characters of an account's name
_TRIES = 5  # how often an order is given anew to a mail that moves on meanwhile


@dataclass(frozen=True, slots=True)
class AccountChoice:
    """Through which accounts a mail is sent anew: all, only those that it has no attempt on record with, or one."""

    not_tried: bool = False
    via: str = ""

    def as_text(self) -> str:
        """The choice as a bulk action keeps it."""
        return f"via:{self.via}" if self.via else "not-tried" if self.not_tried else ""

    @classmethod
    def parse(cls, text: str) -> "AccountChoice":
        """The choice that `as_text` wrote."""
        return cls(not_tried=text == "not-tried", via=text.removeprefix("via:") if text.startswith("via:") else "")

    @property
    def words(self) -> str:
        """The choice for people, as the end of a sentence."""
        if self.via:
            return f"through {self.via} only"
        return "only through accounts not tried yet" if self.not_tried else "through all accounts"

    def routing_constraint(self, tried: Collection[str]) -> RoutingConstraint:
        """What the choice comes to for a mail that these accounts were tried for."""
        return RoutingConstraint(self.via, tuple(sorted(tried)) if self.not_tried else ())

    def fresh(self, tried: Collection[str], usable: Collection[str]) -> frozenset[str]:
        """The usable accounts that the choice names on purpose, and that know nothing of the mail yet."""
        named = {self.via} if self.via else set(usable) if self.not_tried else set()
        return frozenset(named.intersection(usable).difference(tried))


EVERY_ACCOUNT = AccountChoice()


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """Something asked of a mail. `by`: who asked, as `created_by` says it. `account_choice`: for a reprocess."""

    action: Action
    by: str
    note: str = ""
    service: str = ""  # the account whose late answer is the evidence
    account_choice: AccountChoice = EVERY_ACCOUNT

    def as_text(self) -> str:
        """The order as `Mail.pending_action` keeps it."""
        told = {"action": self.action, "by": self.by, "note": self.note, "service": self.service}
        return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> "ActionRequest":
        """The order that `as_text` wrote."""
        told = json.loads(text)
        return cls(Action(told["action"]), told["by"], told.get("note", ""), told.get("service", ""))

    def blob(self, **more: Any) -> dict[str, Any]:
        """What its events say, beside who asked."""
        return more | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, slots=True)
class Confirmation:
    """An account's answer that came late: it took this mail, at the attempt of this number."""

    mail_id: uuid.UUID
    account: str
    number: int


class WithOutcome(Protocol):
    """A recipient, whether it was read by the dispatcher or as a row."""

    @property
    def id(self) -> int: ...  # noqa: D102

    @property
    def address(self) -> str: ...  # noqa: D102

    @property
    def state(self) -> str: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Effect:
    """What an order comes to: the state that follows, the events that say so, and recipients that it resolves."""

    after: MailState
    events: tuple[EventDraft, ...]
    recipients: tuple[RecipientOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of an order, mail by mail."""

    done: set[uuid.UUID] = field(default_factory=set)
    requested: set[uuid.UUID] = field(default_factory=set)  # a call is under way; done when it is closed
    already: set[uuid.UUID] = field(default_factory=set)  # it was so before
    impossible: set[uuid.UUID] = field(default_factory=set)
    changed: set[uuid.UUID] = field(default_factory=set)  # the mail moved on while the order was given


def list_actions(mail: Mail) -> tuple[Action, ...]:
    """What may be asked of the mail as it stands. Pure."""
    match mail.status:
        case Status.QUEUED:
            return (Action.HOLD, Action.CANCEL)
        case Status.WAITING:
            return (Action.RETRY, Action.REPROCESS, Action.HOLD, Action.CANCEL)
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
    """Whether the mail is held, may have been sent, and must not be sent twice: only evidence moves it on."""
    unknown = mail.reason_code == HoldReason.UNKNOWN or (
        mail.possible_duplicate and mail.delivery_guarantee == DeliveryGuarantee.AT_MOST_ONCE
    )
    return mail.status == Status.HELD and unknown


def list_usable_accounts() -> frozenset[str]:
    """The accounts that mails may go through, however they stand right now."""
    return frozenset(one.config.name for one in registry.load_candidates() if one.usable)


def list_tried_accounts(mail_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, set[str]]:
    """The accounts with an attempt on record that they heard of, by mail. One query."""
    found: dict[uuid.UUID, set[str]] = {mail_id: set() for mail_id in mail_ids}
    attempts = Attempt.objects.filter(mail__in=mail_ids).exclude(reason_code=NEVER_CALLED).order_by()
    for mail_id, account in attempts.values_list("mail_id", "account"):
        found[mail_id].add(account)
    return found


def find_untried(account_choice: AccountChoice, mail_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, frozenset[str]]:
    """What `AccountChoice.fresh` says, by mail. Two queries, none where all accounts are meant."""
    if account_choice == EVERY_ACCOUNT:
        return dict.fromkeys(mail_ids, frozenset())
    can_be_used = list_usable_accounts()
    return {
        mail_id: account_choice.fresh(accounts, can_be_used)
        for mail_id, accounts in list_tried_accounts(mail_ids).items()
    }


def compute_effect(
    action_request: ActionRequest,
    state: MailState,
    recipients: Iterable[WithOutcome],
    *,
    delivery_guarantee: str,
    now_ns: int,
    routing_constraint: RoutingConstraint = NO_CONSTRAINT,
) -> Effect:
    """What the order comes to for a mail that stands like this. Pure; whether it is possible is asked before.

    `routing_constraint`: what its `account_choice` comes to for this mail.
    """
    now = database_clock.from_ns(now_ns)
    listed = list(recipients)
    match action_request.action:
        case Action.CANCEL:
            return _cancel(action_request, state, listed, now_ns)
        case Action.HOLD:
            kept = state.reason_code if state.reason_code == HoldReason.UNKNOWN else HoldReason.OPERATOR
            event = EventDraft(
                EventName.HELD, action_request.by, now_ns, action_request.blob(reason=HoldReason.OPERATOR)
            )
            return Effect(release_lease(state, Status.HELD, reason_code=kept), (event,))
        case Action.RELEASE:
            event = EventDraft(EventName.RELEASED, action_request.by, now_ns, action_request.blob())
            return Effect(_requeue(state, now, reason_code=""), (event,))
        case Action.RETRY:
            event = EventDraft(EventName.RELEASED, action_request.by, now_ns, action_request.blob(action=Action.RETRY))
            return Effect(_requeue(state, now), (event,))
        case Action.REPROCESS:
            return _reprocess(action_request, state, listed, now_ns, routing_constraint)
        case Action.SENT:
            return _end_as_sent(action_request, state, listed, delivery_guarantee, now_ns)
        case Action.NOT_SENT:
            tried = (action_request.service or state.provider,)
            anew = {
                "round": 1,
                "tried": tried,
                "failure_classes": (str(FailureClass.PROVIDER),),
                "possible_duplicate": False,
                "reason_code": "",
            }
            event = EventDraft(
                EventName.RESOLVED, action_request.by, now_ns, action_request.blob(outcome=Action.NOT_SENT)
            )
            return Effect(_requeue(state, now, **anew), (event,))


def note_too_late(action_request: ActionRequest, step: Step) -> Step:
    """The step of a mail that was sent after all, with the fate of what was asked for during the call."""
    *before, done = step.events
    if action_request.action == Action.SENT:  # an earlier attempt's late answer: now two were accepted
        twice = EventDraft(
            EventName.DUPLICATE,
            action_request.by,
            done.at_ns,
            {"service": action_request.service, "info": action_request.note},
        )
        return replace(step, after=step.after._replace(reason_code=DUPLICATE), events=(*before, twice, done))
    blob = dict(done.blob) | {"too_late": {"action": action_request.action, "by": action_request.by}}
    return replace(step, events=(*before, done._replace(blob=blob)))


def list_recipients(recipients: Iterable[WithOutcome]) -> dict[str, Any]:
    """The recipients that were taken and those that were refused, as DONE tells them."""
    listed = list(recipients)
    return {
        "accepted": [one.address for one in listed if one.state == RecipientState.ACCEPTED],
        "refused": [
            {"address": one.address, "reason": one.reason} for one in listed if one.state == RecipientState.REFUSED
        ],
    }


def carry_out_on(action_request: ActionRequest, mail_ids: Iterable[uuid.UUID]) -> ActionResult:
    """Carry the order out on these mails; those that move on meanwhile are read again, up to five times."""
    total, left = ActionResult(), set(mail_ids)
    for _ in range(_TRIES):
        found = list(Mail.objects.filter(pk__in=left).prefetch_related("recipients"))
        carried = carry_out(action_request, found)
        total.done.update(carried.done)
        total.requested.update(carried.requested)
        total.already.update(carried.already)
        total.impossible.update(carried.impossible)
        left = carried.changed
        if not left:
            break
    total.changed.update(left)
    return total


def apply_confirmations(evidence: Iterable[Confirmation]) -> None:
    """Resolve what late answers prove: a mail that waits or is held was sent; one that is done was sent twice."""
    by_account: dict[str, dict[uuid.UUID, int]] = defaultdict(dict)
    for one in evidence:
        by_account[one.account][one.mail_id] = one.number
    for account, numbers in by_account.items():
        carried = carry_out_on(ActionRequest(Action.SENT, account, note=_LATE, service=account), numbers)
        writer.mark_duplicates(
            {mail_id: numbers[mail_id] for mail_id in carried.already},
            EventDraft(EventName.DUPLICATE, account, database_clock.now_ns(), {"service": account, "info": _LATE}),
        )


def carry_out(action_request: ActionRequest, mails: Sequence[Mail]) -> ActionResult:
    """Carry the order out on these mails as they were read; recipients are best prefetched. One transaction.

    What moved on meanwhile is left alone and counted as changed: read it again, and ask again. A mail that was tried
    with every usable account cannot be sent anew through those not tried yet.
    """
    routing_constraint = _constrain(action_request.account_choice, [mail.pk for mail in mails])
    now_ns = database_clock.now_ns()
    carried = ActionResult()
    steps: list[Step] = []
    calling: set[uuid.UUID] = set()
    for mail in mails:
        if mail.status in ALREADY.get(action_request.action, ()) or (
            mail.pending_action and mail.pending_action == action_request.as_text()
        ):
            carried.already.add(mail.pk)
        elif not (mail.status in _UNSETTLED if action_request.service else action_request.action in list_actions(mail)):
            carried.impossible.add(mail.pk)
        elif mail.status == Status.SENDING:
            calling.add(mail.pk)
        elif mail.pk not in routing_constraint:
            carried.impossible.add(mail.pk)
        else:
            steps.append(_build_step(action_request, mail, now_ns, routing_constraint[mail.pk]))
    with transaction.atomic():
        carried.done.update(writer.record(steps))
        if action_request.action in (Action.RELEASE, Action.RETRY, Action.REPROCESS, Action.NOT_SENT):
            writer.extend_expiry(carried.done, _extend_to(action_request, now_ns))
        for one in set(routing_constraint.values()) if action_request.action == Action.REPROCESS else ():
            writer.constrain_routing([mail_id for mail_id in carried.done if routing_constraint[mail_id] == one], one)
        carried.requested.update(_request(action_request, calling, now_ns) if calling else ())
    carried.changed.update({step.mail_id for step in steps} - carried.done, calling - carried.requested)
    return carried


def _constrain(account_choice: AccountChoice, mail_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, RoutingConstraint]:
    """What the choice comes to for each mail; those are missing that no account is left for."""
    if not account_choice.not_tried:
        return dict.fromkeys(mail_ids, account_choice.routing_constraint(()))
    can_be_used, tried = list_usable_accounts(), list_tried_accounts(mail_ids)
    return {
        mail_id: account_choice.routing_constraint(tried[mail_id])
        for mail_id in mail_ids
        if account_choice.fresh(tried[mail_id], can_be_used)
    }


def _build_step(action_request: ActionRequest, mail: Mail, now_ns: int, routing_constraint: RoutingConstraint) -> Step:
    to = compute_effect(
        action_request,
        read_state(mail),
        mail.recipients.all(),
        delivery_guarantee=mail.delivery_guarantee,
        now_ns=now_ns,
        routing_constraint=routing_constraint,
    )
    return Step(
        mail_id=mail.pk,
        before=Status(mail.status),
        fence=mail.lease,
        after=to.after,
        events=to.events,
        recipients=to.recipients,
        attempts=mail.attempt_count,
    )


def _request(action_request: ActionRequest, mail_ids: set[uuid.UUID], now_ns: int) -> set[uuid.UUID]:
    text = "" if action_request.action == Action.RELEASE else action_request.as_text()
    event = EventDraft(
        EventName.REQUESTED, action_request.by, now_ns, action_request.blob(action=action_request.action)
    )
    return writer.request_action(mail_ids, text, event)


def _extend_to(action_request: ActionRequest, now_ns: int) -> dt.datetime:
    """A mail sent anew has as long as a new one. One that is only released keeps its time, unless that is over."""
    now = database_clock.from_ns(now_ns)
    return now + (
        settings.MERCURY_EXPIRY if action_request.action == Action.REPROCESS else min(_GRACE, settings.MERCURY_EXPIRY)
    )


_GRACE = dt.timedelta(hours=1)


def _requeue(state: MailState, now: dt.datetime, **changes: Any) -> MailState:
    return release_lease(state, Status.QUEUED, next_attempt_at=now, finished_at=None, claims=0, **changes)


def _cancel(action_request: ActionRequest, state: MailState, recipients: Sequence[WithOutcome], now_ns: int) -> Effect:
    """The end; for a mail that some recipients' providers took, only the others' end."""
    now = database_clock.from_ns(now_ns)
    if not any(one.state == RecipientState.ACCEPTED for one in recipients):
        blob = action_request.blob(**{"possibly_sent": True} if state.possible_duplicate else {})
        after = release_lease(state, Status.CANCELLED, finished_at=now, reason_code="cancelled")
        return Effect(after, (EventDraft(EventName.CANCELLED, action_request.by, now_ns, blob),))
    reason = f"Cancelled: {action_request.note}" if action_request.note else "Cancelled."
    return _end(action_request, state, recipients, RecipientState.REFUSED, reason, now_ns)


def _end_as_sent(
    action_request: ActionRequest,
    state: MailState,
    recipients: Sequence[WithOutcome],
    delivery_guarantee: str,
    now_ns: int,
) -> Effect:
    """It was sent after all: all who were waited for have got it.

    At most once, the unknown outcome that it is held for is the only one; else it is held for a second one.
    """
    the_only_one = state.reason_code == HoldReason.UNKNOWN and delivery_guarantee == DeliveryGuarantee.AT_MOST_ONCE
    twice = state.possible_duplicate and state.attempt_count > 1 and not the_only_one
    settled = EventDraft(EventName.RESOLVED, action_request.by, now_ns, action_request.blob(outcome=Action.SENT))
    done = _end(
        action_request, state._replace(possible_duplicate=twice), recipients, RecipientState.ACCEPTED, "", now_ns
    )
    return replace(done, events=(settled, *done.events))


def _end(
    action_request: ActionRequest,
    state: MailState,
    recipients: Sequence[WithOutcome],
    others: RecipientState,
    reason: str,
    now_ns: int,
) -> Effect:
    settled = {
        one.id: RecipientOutcome(one.id, others, reason) for one in recipients if one.state == RecipientState.PENDING
    }
    told = [_RecipientThen(one, settled.get(one.id)) for one in recipients]
    service = action_request.service or state.provider
    blob = {"service": service, **list_recipients(told), "possible_duplicate": state.possible_duplicate}
    after = release_lease(
        state,
        Status.DONE,
        finished_at=database_clock.from_ns(now_ns),
        failure_class="",
        reason_code="",
        provider=service,
    )
    return Effect(after, (EventDraft(EventName.DONE, action_request.by, now_ns, blob),), tuple(settled.values()))


class _RecipientThen:
    """A recipient as it is once it is resolved."""

    def __init__(self, one: WithOutcome, settled: RecipientOutcome | None) -> None:
        self.id, self.address = one.id, one.address
        self.state, self.reason = (settled.state, settled.reason) if settled else (one.state, one.reason)


def _reprocess(
    action_request: ActionRequest,
    state: MailState,
    recipients: Sequence[WithOutcome],
    now_ns: int,
    routing_constraint: RoutingConstraint,
) -> Effect:
    """From the start; recipients that were given up are open again, those taken stay taken."""
    anew = {"round": 1, "tried": (), "failure_classes": (), "failure_class": "", "reason_code": ""}
    given_up = [one for one in recipients if one.state == RecipientState.REFUSED and state.status == Status.DISCARDED]
    reopened = [RecipientOutcome(one.id, RecipientState.PENDING) for one in given_up]
    blob = action_request.blob(before=state.status, **routing_constraint.as_blob())
    event = EventDraft(EventName.REPROCESS, action_request.by, now_ns, blob)
    return Effect(_requeue(state, database_clock.from_ns(now_ns), **anew), (event,), tuple(reopened))
