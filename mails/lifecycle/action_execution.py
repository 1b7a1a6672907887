"""Carry out action requests: on emails as they were loaded, by id, or from late answers of accounts."""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction

from mails.lifecycle import writer
from mails.lifecycle.action_requests import (
    EVERY_ACCOUNT,
    AccountChoice,
    ActionRequest,
    Confirmation,
    compute_effect,
    list_actions,
)
from mails.lifecycle.recipient_changes import RecipientChanges
from mails.lifecycle.values import EventDraft, Step, read_state
from mails.message import mime
from mails.models import Attempt, Mail
from mails.routing.matching import match_again
from mails.states import NEVER_CALLED, Action, EventName, Status
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.routing.rules import RoutingConstraint

ALREADY = {
    Action.CANCEL: {Status.CANCELLED},
    Action.HOLD: {Status.HELD},
    Action.SENT: {Status.DONE},
}
LATE = "Its answer came late: it accepted the email."
MAX_TRIES = 5  # of a request on emails whose state changes in between
GRACE = dt.timedelta(hours=1)  # for an email that is released after it has expired
_OPEN = frozenset({Status.QUEUED, Status.WAITING, Status.SENDING, Status.HELD})
_EXTENDING = (Action.RELEASE, Action.RETRY, Action.REPROCESS, Action.NOT_SENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """Result of a request: the ids of the emails, by what happened to them."""

    done: set[uuid.UUID] = field(default_factory=set)
    requested: set[uuid.UUID] = field(default_factory=set)  # a call is in progress; done when it is closed
    already: set[uuid.UUID] = field(default_factory=set)  # it was so before
    impossible: set[uuid.UUID] = field(default_factory=set)
    changed: set[uuid.UUID] = field(default_factory=set)  # its state changed while the request was carried out


def list_usable_accounts() -> frozenset[str]:
    """Return the accounts that email may go through, whatever their breakers and limits say now."""
    return frozenset(candidate.config.name for candidate in registry.load_candidates() if candidate.usable)


def list_tried_accounts(mail_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, set[str]]:
    """Return the accounts that were called for each email, by the attempts on record. One query."""
    found: dict[uuid.UUID, set[str]] = {mail_id: set() for mail_id in mail_ids}
    attempts = Attempt.objects.filter(mail__in=mail_ids).exclude(reason_code=NEVER_CALLED).order_by()
    for mail_id, account in attempts.values_list("mail_id", "account"):
        found[mail_id].add(account)
    return found


def find_untried(account_choice: AccountChoice, mail_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, frozenset[str]]:
    """Return `AccountChoice.select_untried` for each email. Two queries, none where the choice is every account."""
    if account_choice == EVERY_ACCOUNT:
        return dict.fromkeys(mail_ids, frozenset())
    usable = list_usable_accounts()
    return {
        mail_id: account_choice.select_untried(accounts, usable)
        for mail_id, accounts in list_tried_accounts(mail_ids).items()
    }


def carry_out_by_id(action_request: ActionRequest, mail_ids: Iterable[uuid.UUID]) -> ActionResult:
    """Carry the request out on these emails; those whose state changes in between are read again, up to five times."""
    total, left = ActionResult(), set(mail_ids)
    for _ in range(MAX_TRIES):
        mails = list(Mail.objects.filter(pk__in=left).prefetch_related("recipients"))
        result = carry_out(action_request, mails)
        total.done.update(result.done)
        total.requested.update(result.requested)
        total.already.update(result.already)
        total.impossible.update(result.impossible)
        left = result.changed
        if not left:
            break
    total.changed.update(left)
    return total


def apply_confirmations(confirmations: Iterable[Confirmation]) -> None:
    """Resolve what late answers prove: an email that waits or is held was sent; one that is done was sent twice."""
    by_account: dict[str, dict[uuid.UUID, int]] = defaultdict(dict)
    for confirmation in confirmations:
        by_account[confirmation.account][confirmation.mail_id] = confirmation.number
    for account, numbers in by_account.items():
        action_request = ActionRequest(action=Action.SENT, by=account, note=LATE, service=account)
        result = carry_out_by_id(action_request, numbers)
        blob = {"service": account, "info": LATE}
        writer.mark_duplicates(
            {mail_id: numbers[mail_id] for mail_id in result.already},
            EventDraft(event=EventName.DUPLICATE, by=account, at_ns=database_clock.now_ns(), blob=blob),
        )


def carry_out(action_request: ActionRequest, mails: Sequence[Mail]) -> ActionResult:
    """Carry the request out on these emails as they were loaded; recipients are best prefetched. One transaction.

    An email whose state has changed is left alone and counted as changed: load it again, and ask again. An email that was
    tried with every usable account cannot be reprocessed through those not tried yet.
    """
    constraints = _constrain(action_request.account_choice, [mail.pk for mail in mails])
    now_ns = database_clock.now_ns()
    result = ActionResult()
    steps: list[Step] = []
    in_call: set[uuid.UUID] = set()
    for mail in mails:
        if _is_already_so(action_request, mail):
            result.already.add(mail.pk)
        elif not _is_possible(action_request, mail):
            result.impossible.add(mail.pk)
        elif mail.status == Status.SENDING:
            in_call.add(mail.pk)
        elif mail.pk not in constraints:
            result.impossible.add(mail.pk)
        else:
            steps.append(_build_step(action_request, mail, now_ns, constraints[mail.pk]))
    with transaction.atomic():
        result.done.update(writer.record(steps))
        _set_expiry(action_request, result.done, now_ns)
        if action_request.action == Action.REPROCESS:
            _constrain_routing(result.done, constraints)
            _change_recipients(action_request.recipients, [mail for mail in mails if mail.pk in result.done])
        if action_request.action in _EXTENDING:
            match_again(result.done)  # rules may name recipients
        if action_request.times is not None:
            links_until = (
                max(action_request.times.send_at, database_clock.from_ns(now_ns)) + settings.MERCURY_LINK_EXPIRY
            )
            writer.reschedule(result.done, action_request.times, links_until)
        if in_call:
            result.requested.update(_request(action_request, in_call, now_ns))
    result.changed.update({step.mail_id for step in steps} - result.done, in_call - result.requested)
    return result


def _set_expiry(action_request: ActionRequest, mail_ids: Collection[uuid.UUID], now_ns: int) -> None:
    if action_request.expires_at is not None:
        writer.set_expiry(mail_ids, action_request.expires_at)
    elif action_request.action in _EXTENDING:
        writer.extend_expiry(mail_ids, _choose_expiry(action_request, now_ns))


def _change_recipients(changes: RecipientChanges, mails: Iterable[Mail]) -> None:
    """Change the recipients of these emails, which were checked before; no query if there is nothing to change."""
    for mail in mails if changes else ():
        columns = changes.change(mime.read_message(mail)).columns
        writer.change_recipients(mail, changes, recipient=columns["recipient"], needs=columns["needs"])


def _is_already_so(action_request: ActionRequest, mail: Mail) -> bool:
    return mail.status in ALREADY.get(action_request.action, ()) or (
        mail.pending_action != "" and mail.pending_action == action_request.as_text()
    )


def _is_possible(action_request: ActionRequest, mail: Mail) -> bool:
    """Return True if the action is possible in the email's state; a confirmation resolves it in any open one."""
    if action_request.service:
        return mail.status in _OPEN
    return action_request.action in list_actions(mail)


def _constrain(account_choice: AccountChoice, mail_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, RoutingConstraint]:
    """Return the constraint of each email; those are missing that no account is left for."""
    if not account_choice.not_tried:
        return dict.fromkeys(mail_ids, account_choice.constrain(()))
    usable, tried = list_usable_accounts(), list_tried_accounts(mail_ids)
    return {
        mail_id: account_choice.constrain(tried[mail_id])
        for mail_id in mail_ids
        if account_choice.select_untried(tried[mail_id], usable)
    }


def _constrain_routing(mail_ids: Collection[uuid.UUID], constraints: Mapping[uuid.UUID, RoutingConstraint]) -> None:
    groups: dict[RoutingConstraint, list[uuid.UUID]] = defaultdict(list)
    for mail_id in mail_ids:
        groups[constraints[mail_id]].append(mail_id)
    for constraint, group in groups.items():
        writer.constrain_routing(group, constraint)


def _build_step(action_request: ActionRequest, mail: Mail, now_ns: int, constraint: RoutingConstraint) -> Step:
    effect = compute_effect(
        action_request,
        read_state(mail),
        mail.recipients.all(),
        delivery_guarantee=mail.delivery_guarantee,
        now_ns=now_ns,
        routing_constraint=constraint,
        send_at=mail.send_at,
    )
    return Step(
        mail_id=mail.pk,
        before=Status(mail.status),
        fence=mail.lease,
        after=effect.after,
        events=effect.events,
        recipients=effect.recipients,
        attempts=mail.attempt_count,
    )


def _request(action_request: ActionRequest, mail_ids: set[uuid.UUID], now_ns: int) -> set[uuid.UUID]:
    """Leave the request with emails whose call is in progress; a release withdraws an earlier one."""
    text = "" if action_request.action == Action.RELEASE else action_request.as_text()
    blob = action_request.as_blob(action=action_request.action)
    event = EventDraft(event=EventName.REQUESTED, by=action_request.by, at_ns=now_ns, blob=blob)
    return writer.request_action(mail_ids, text, event)


def _choose_expiry(action_request: ActionRequest, now_ns: int) -> dt.datetime:
    """Return when an email expires at the earliest: a reprocessed one as late as a new one, others after a grace."""
    is_new = action_request.action == Action.REPROCESS
    return database_clock.from_ns(now_ns) + (settings.MERCURY_EXPIRY if is_new else min(GRACE, settings.MERCURY_EXPIRY))
