"""Previews of actions: of one email, in sentences; to many, as groups with a forecast each. Changes nothing."""

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from mails.actions import rules
from mails.actions.errors import NoUntriedAccount
from mails.actions.sending_conditions import Conditions, find_policies, load_conditions
from mails.actions.wording import PAST, join_names
from mails.lifecycle import action_execution, action_requests
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice
from mails.models import Mail
from mails.models.querysets import MailQuerySet
from mails.routing.book import get_book
from mails.states import RESOLVING, Action, Inclusion, Status
from mercury.lib import durations
from mercury.lib.database import database_clock
from mercury.lib.moments import format_minute
from providers.outcomes import FailureClass
from providers.routing.policy import AccountPolicy

BATCH = 500  # emails read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewGroup:
    """Emails in the same state for the same reason, and what the action would do to them."""

    state: str
    emails: int
    forecast: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPreview:
    """Preview of an action on a number of emails.

    `skipped`: reason -> count. `already`: those of them that are in that state already. `more`: not all were looked at.
    """

    eligible: Sequence[uuid.UUID]
    groups: Sequence[PreviewGroup]
    skipped: Counter[str]
    already: int = 0
    more: bool = False


def describe_effect(mail: Mail, action: Action, account_choice: AccountChoice = EVERY_ACCOUNT) -> list[str]:
    """Return what the action would do to this email, in sentences; for a page that asks before it acts."""
    provider = mail.provider or "the provider"
    if mail.status == Status.SENDING:
        return _describe_pending(provider, action)
    doubt = ["An earlier attempt got no reply, so it may have been sent already."] if mail.possible_duplicate else []
    match action:
        case Action.CANCEL:
            return ["The email will not be sent. This cannot be undone.", *doubt]
        case Action.HOLD:
            expiry = f"{mail.expires_at:%Y-%m-%d %H:%M} UTC"
            return [f"The email is not sent until it is released. It expires at {expiry}."]
        case Action.RELEASE:
            return _describe_release(mail, doubt)
        case Action.RESCHEDULE:
            due_at = mail.next_attempt_at or mail.wanted_at
            return [f"The email is sent at the time below instead of {format_minute(due_at)}.", *doubt]
        case Action.RETRY:
            return [
                "The next attempt starts now; nothing else changes.",
                *doubt,
                _describe_conditions(mail),
            ]
        case Action.REPROCESS:
            return _describe_reprocessing(mail, account_choice, doubt)
        case Action.SENT:
            return [
                f"The email is marked as sent by {provider}, for each recipient without a result.",
                f"Choose this if {provider} has its Message-ID. Nothing is sent.",
            ]
        case Action.NOT_SENT:
            return [
                "The email is queued now and goes to another account first.",
                *(
                    ["It still goes only through the accounts chosen when it was reprocessed."]
                    if mail.routing_constraint
                    else []
                ),
                f"If {provider} did send it, it arrives twice.",
                _describe_conditions(mail),
            ]


def _describe_release(mail: Mail, doubt: list[str]) -> list[str]:
    if mail.wanted_at > database_clock.now():
        return [f"The email is sent at its time, {format_minute(mail.wanted_at)}.", *doubt]
    return ["The email is ready to be sent now.", *doubt, _describe_conditions(mail)]


def _describe_conditions(mail: Mail) -> str:
    """Return whether an email that continues can be sent now."""
    return load_conditions().restrict_to(mail, find_policies([mail.pk]).get(mail.pk)).describe(mail.queue)


def _describe_pending(provider: str, action: Action) -> list[str]:
    if action == Action.RELEASE:
        return ["The pending action is withdrawn; the email continues."]
    return [
        f"A request to {provider} is in progress and cannot be stopped.",
        f"If {provider} accepts the email, it is sent. If not, it is {PAST[action]} when the request ends.",
    ]


def _describe_reprocessing(mail: Mail, account_choice: AccountChoice, doubt: list[str]) -> list[str]:
    untried = action_execution.find_untried(account_choice, [mail.pk])[mail.pk]
    if account_choice.not_tried and not untried:
        return [str(NoUntriedAccount(mail, Action.REPROCESS, action_requests.list_actions(mail)))]
    conditions = load_conditions().restrict(account_choice, untried, find_policies([mail.pk]).get(mail.pk))
    rejected = "It was rejected because of its content, so it will probably be rejected again."
    if possible := untried.intersection(conditions.usable):
        names = join_names(possible)
        rejected = f"It was rejected because of its content. It was not yet tried with {names}."
    return [
        f"The email starts over {account_choice.words}, with a fresh expiry. It keeps its id and Message-ID.",
        *doubt,
        *([rejected] if mail.failure_class == FailureClass.MESSAGE else []),
        conditions.describe(mail.queue),
    ]


def preview_action(
    action: Action,
    mails: MailQuerySet,
    *,
    account_choice: AccountChoice = EVERY_ACCOUNT,
    included: Collection[Inclusion] = (),
    limit: int | None = None,
    look_at: int | None = None,
) -> ActionPreview:
    """Return what the action would do to these emails, and which it would skip.

    `account_choice`: through which accounts they are reprocessed. `included`: kinds of emails not to skip. `limit` counts
    the eligible emails, oldest first; `look_at` all of them. Raises AccountNotUsable.
    """
    rules.check_account_choice(account_choice)
    eligible: list[uuid.UUID] = []
    groups: Counter[tuple[str, str, str]] = Counter()
    skipped: Counter[str] = Counter()
    conditions = load_conditions()
    already = 0
    more = False
    mails_read = rules.load_oldest(mails, look_at and look_at + 1).iterator(BATCH)
    for number, (mail, untried, policy) in enumerate(_add_accounts(mails_read, account_choice)):
        if limit is not None and len(eligible) >= limit:
            break
        if look_at is not None and number == look_at:
            more = True
            break
        reason = rules.explain_skip(mail, action, included=included, account_choice=account_choice, untried=untried)
        if reason:
            skipped[reason] += 1
            already += rules.is_already(mail, action)
            continue
        eligible.append(mail.pk)
        its = (
            conditions.restrict(account_choice, untried, policy)
            if action == Action.REPROCESS
            else conditions.restrict_to(mail, policy)
        )
        forecast, tone = forecast_action(mail, action, its, untried.intersection(its.usable))
        groups[_describe_reason(mail, action), forecast, tone] += 1
    listed = [
        PreviewGroup(state=state, emails=count, forecast=forecast, tone=tone)
        for (state, forecast, tone), count in groups.most_common()
    ]
    return ActionPreview(eligible=eligible, groups=listed, skipped=skipped, already=already, more=more)


def estimate_send_time(emails: int, account_choice: AccountChoice) -> str:
    """Return how fast these emails are sent once queued, as the end of a sentence.

    With a time if all their accounts have limits, and are the same for each email: those not tried yet and those of
    routing rules differ.
    """
    limit = "as fast as the accounts' limits allow"
    if account_choice.not_tried or (get_book().policies and not account_choice.via):
        return f"{limit}."
    rates = [candidate.config.rate for candidate in load_conditions().restrict(account_choice, (), None).healthy]
    if not rates or None in rates:
        return f"{limit}."
    per_second = sum(filter(None, rates))
    return f"{limit}: {per_second:g} per second, about {durations.format_duration(emails / per_second)} if no other email is sent."


def forecast_action(mail: Mail, action: Action, conditions: Conditions, untried: Collection[str]) -> tuple[str, str]:
    """Return what the action is likely to do, in words, and its tone. `untried`: accounts of the choice not tried yet."""
    if mail.status == Status.SENDING and action != Action.RELEASE:
        return f"{PAST[action]} when the request in progress ends, unless it is accepted", "waiting"
    if action == Action.SENT:
        return "marked as sent; nothing is sent", "ok"
    if action in (Action.CANCEL, Action.HOLD):
        return PAST[action], "ok"
    if action == Action.RESCHEDULE:
        return "sent at the new time", "ok"
    if action == Action.RELEASE and mail.send_at and mail.send_at > database_clock.now():
        return f"sent at {format_minute(mail.send_at)}", "ok"
    if conditions.pauses.all_sending:
        return "waits until sending is resumed", "waiting"
    if conditions.pauses.get(mail.queue):
        return f"waits until queue {mail.queue} is resumed", "waiting"
    if not conditions.healthy:
        return f"waits: {conditions.availability}", "waiting"
    return _forecast_attempt(mail, action, conditions.availability, untried)


def _forecast_attempt(mail: Mail, action: Action, availability: str, untried: Collection[str]) -> tuple[str, str]:
    """Return the forecast of an email that goes to an account at once."""
    if action == Action.NOT_SENT:
        return (
            f"will be sent, a duplicate if {mail.provider or 'its account'} already sent it; {availability}",
            "unknown",
        )
    if mail.failure_class == FailureClass.MESSAGE and untried:
        return f"may succeed: not yet tried with {join_names(untried)}", "waiting"
    if mail.failure_class == FailureClass.MESSAGE:
        return "will be rejected again: the message is the problem", "bad"
    if mail.possible_duplicate and action == Action.REPROCESS:
        return f"may arrive twice: {availability}", "unknown"
    return f"likely to succeed: {availability}", "ok"


def _describe_reason(mail: Mail, action: Action) -> str:
    """Return the state of the email and its reason; for a resolving action also the account to check with."""
    if mail.is_scheduled(database_clock.now()):
        return "Scheduled"
    reason = mail.reason_code if mail.status in (Status.DISCARDED, Status.HELD, Status.WAITING) else ""
    asked = f", last sent to {mail.provider}" if action in RESOLVING and mail.provider else ""
    return f"{Status(mail.status).label}{f': {reason}' if reason else ''}{asked}"


def _add_accounts(
    mails: Iterator[Mail], account_choice: AccountChoice
) -> Iterator[tuple[Mail, frozenset[str], AccountPolicy | None]]:
    """Yield each email with the accounts of the choice that it was not tried with, and what its routing rule allows.

    One query a batch, and three more where there are rules.
    """
    while batch := list(islice(mails, BATCH)):
        ids = [mail.pk for mail in batch]
        untried, policies = action_execution.find_untried(account_choice, ids), find_policies(ids)
        yield from ((mail, untried[mail.pk], policies.get(mail.pk)) for mail in batch)
