"""Actions on emails: cancel, hold, release, reprocess, resolve; one or many. Pause and resume of a queue and of all sending.

The doors (API, admin, pages, commands) call these. What an order comes to is `orders`' business.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from django.db import transaction

from mails import pauses
from mails.actions import bulk, selection
from mails.actions.selection import describe_state
from mails.dispatch import wake
from mails.lifecycle import action_execution, action_requests
from mails.lifecycle.action_execution import ActionResult
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice, ActionRequest
from mails.models import BulkAction, Mail
from mails.models.querysets import MailQuerySet
from mails.pauses import ALL_QUEUES, ActivePauses
from mails.queues import QueueName
from mails.reporting import search
from mails.states import DUE, LEASED, RESOLVING, Action, Inclusion, Status
from mercury.lib import durations
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.health.breaker import check_permission
from providers.outcomes import FailureClass

MAX_NOTE = 500  # characters
BATCH = 500  # mails in one transaction
COUNTED_AT_MOST = 100_000  # mails that wait; an index serves it
_MADE_DUE = frozenset({Action.RELEASE, Action.RETRY, Action.REPROCESS, Action.NOT_SENT})
PAST = {
    Action.CANCEL: "cancelled",
    Action.HOLD: "held",
    Action.RELEASE: "released",
    Action.REPROCESS: "reprocessed",
    Action.RETRY: "retried now",
    Action.SENT: "resolved",
    Action.NOT_SENT: "resolved",
}


class MailNotFound(Exception):
    """The mail was removed meanwhile, by retention."""


class AccountNotUsable(Exception):
    """The account that a mail was to go through does not exist, or takes no mail. The text names those that do."""

    def __init__(self, account: str, usable: Collection[str]) -> None:
        super().__init__(f"No account '{account}' can be used. Usable accounts: {', '.join(sorted(usable)) or 'none'}.")
        self.account = account


class ActionNotAllowed(Exception):
    """The mail stands where this cannot be done any more, or not yet. The text says where, and what can be done."""

    def __init__(self, mail: Mail, action: Action, possible: tuple[Action, ...], *, moving: bool = False) -> None:
        can = ", ".join(one.label.lower() for one in possible)
        cure = "Its state is changing; try again." if moving else f"Possible actions now: {can or 'none'}."
        super().__init__(f"The email is {describe_state(mail)}, so it cannot be {PAST[action]}. {cure}")
        self.mail = mail
        self.possible = possible


class NoUntriedAccount(ActionNotAllowed):
    """The mail could be sent anew, but not through an account that it was not tried with: there is none."""

    def __init__(self, mail: Mail, action: Action, possible: tuple[Action, ...]) -> None:
        super().__init__(mail, action, possible)
        self.tried = sorted(action_execution.list_tried_accounts([mail.pk])[mail.pk])

    def __str__(self) -> str:
        return (
            "No untried account is left: the email was already tried with "
            f"{join_names(self.tried) or 'no account, and none is usable'}. Reprocess it through all accounts, or through one."
        )


@dataclass(frozen=True, slots=True)
class ActionReport:
    """What became of an order for one mail. `requested`: a call is under way, and it is done when that is closed."""

    mail: Mail
    requested: bool
    changed: bool  # False: it was so before
    account_choice: AccountChoice = EVERY_ACCOUNT

    def words(self, action: Action) -> str:
        """What happened, in one sentence."""
        if self.requested and action == Action.RELEASE:
            return "The pending action is withdrawn."
        if self.requested:
            return (
                f"A request to {self.mail.provider} is in progress and cannot be stopped. Unless {self.mail.provider} accepts "
                f"the email, it is {PAST[action]} when the request ends."
            )
        if not self.changed:
            return f"The email is already {describe_state(self.mail)}."
        return {
            Action.CANCEL: "The email is cancelled. It will not be sent.",
            Action.HOLD: "The email is on hold until it is released.",
            Action.RELEASE: "The email is released and is sent now.",
            Action.REPROCESS: f"The email is queued and starts over {self.account_choice.words}.",
            Action.RETRY: "The next attempt starts now.",
            Action.SENT: "The email is marked as sent.",
            Action.NOT_SENT: "The email is marked as not sent and queued for the next account.",
        }[action]


def list_usable_accounts() -> list[str]:
    """The accounts that a mail may be sent through, by name."""
    return sorted(action_execution.list_usable_accounts())


def check_account_choice(account_choice: AccountChoice) -> None:
    """Raise CannotBeUsed if mails are to go through one account, and that takes none."""
    if account_choice.via and account_choice.via not in (known := action_execution.list_usable_accounts()):
        raise AccountNotUsable(account_choice.via, known)


def is_possible(mail: Mail, action: Action, account_choice: AccountChoice) -> bool:
    """Whether it may be asked of the mail as it stands, and an account is left for it."""
    left = not account_choice.not_tried or bool(action_execution.find_untried(account_choice, [mail.pk])[mail.pk])
    return action in action_requests.list_actions(mail) and left


def describe_effect(mail: Mail, action: Action, account_choice: AccountChoice = EVERY_ACCOUNT) -> list[str]:
    """What the order would come to for this mail, in sentences; for a page that asks before it acts."""
    provider = mail.provider or "the provider"
    if mail.status == Status.SENDING:
        if action == Action.RELEASE:
            return ["The pending action is withdrawn; the email continues."]
        return [
            f"A request to {provider} is in progress and cannot be stopped.",
            f"If {provider} accepts the email, it is sent. If not, it is {PAST[action]} when the request ends.",
        ]
    doubt = ["An earlier attempt got no reply, so it may have been sent already."] if mail.possible_duplicate else []
    match action:
        case Action.CANCEL:
            return ["The email will not be sent. This cannot be undone.", *doubt]
        case Action.HOLD:
            return [f"The email is not sent until it is released. It expires at {mail.expires_at:%Y-%m-%d %H:%M} UTC."]
        case Action.RELEASE:
            return ["The email is ready to be sent now.", *doubt, load_outlook().words(mail.queue)]
        case Action.RETRY:
            return [
                "The next attempt starts now; nothing else changes.",
                *doubt,
                load_outlook().words(mail.queue),
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
                load_outlook().words(mail.queue),
            ]


def _describe_reprocessing(mail: Mail, account_choice: AccountChoice, doubt: list[str]) -> list[str]:
    fresh = action_execution.find_untried(account_choice, [mail.pk])[mail.pk]
    if account_choice.not_tried and not fresh:
        return [str(NoUntriedAccount(mail, Action.REPROCESS, action_requests.list_actions(mail)))]
    again = "It was rejected because of its content, so it will probably be rejected again."
    if fresh:
        again = f"It was rejected because of its content. It was not yet tried with {join_names(fresh)}."
    return [
        f"The email starts over {account_choice.words}, with a fresh expiry. It keeps its id and Message-ID.",
        *doubt,
        *([again] if mail.failure_class == FailureClass.MESSAGE else []),
        load_outlook().among(account_choice, fresh).words(mail.queue),
    ]


def apply_action(mail_id: uuid.UUID, action_request: ActionRequest) -> ActionReport:
    """Carry the order out on one mail, or leave it as a pending action where a call is under way.

    Raises NotPossible, CannotBeUsed, Gone. Repeating an order that was carried out changes nothing and raises nothing.
    """
    check_account_choice(action_request.account_choice)
    carried = _carry_out(action_request, [mail_id])
    mail = Mail.objects.filter(pk=mail_id).first()
    if mail is None:
        raise MailNotFound(f"The email {mail_id} no longer exists: retention deleted it.")
    if (
        carried.impossible
        and action_request.account_choice.not_tried
        and action_request.action in action_requests.list_actions(mail)
    ):
        raise NoUntriedAccount(mail, action_request.action, action_requests.list_actions(mail))
    if carried.impossible or carried.changed:
        raise ActionNotAllowed(
            mail, action_request.action, action_requests.list_actions(mail), moving=bool(carried.changed)
        )
    return ActionReport(
        mail,
        requested=mail_id in carried.requested,
        changed=mail_id not in carried.already,
        account_choice=action_request.account_choice,
    )


@dataclass(frozen=True, slots=True)
class PreviewGroup:
    """Mails that stand where they stand for one reason, and what an order would come to for them."""

    words: str
    mails: int
    forecast: str
    tone: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What an order would do to a number of mails.

    `skipped`: why -> how many. `already`: those of them for which nothing is left to do. `more`: there are more to look at.
    """

    eligible: list[uuid.UUID]
    causes: list[PreviewGroup]
    skipped: Counter[str]
    already: int = 0
    more: bool = False


@dataclass(slots=True)
class ActionCounts:
    """What an order did to a number of mails."""

    done: int = 0
    requested: int = 0  # a call is under way; done when it is closed
    skipped: int = 0
    already: int = 0  # of those skipped: it was so before
    changed: int = 0  # moved on between survey and order, so that it is not possible any more


def preview_action(
    action: Action,
    mails: MailQuerySet,
    *,
    account_choice: AccountChoice = EVERY_ACCOUNT,
    included: Collection[Inclusion] = (),
    limit: int | None = None,
    look_at: int | None = None,
) -> Preview:
    """Look what the order would do to these mails, and leave out those that it would do no good. Changes nothing.

    `how`: through which accounts, where they are sent anew. `also`: whom it takes too because they were asked for.
    `limit` counts the eligible ones, oldest first; `look_at` all of them. Raises CannotBeUsed.
    """
    check_account_choice(account_choice)
    eligible: list[uuid.UUID] = []
    groups: Counter[tuple[str, str, str]] = Counter()
    skipped: Counter[str] = Counter()
    outlook = load_outlook()
    already = 0
    more = False
    reading = selection.order_for_reading(mails, look_at and look_at + 1).iterator(BATCH)
    for number, (mail, fresh) in enumerate(_pair_with_untried(reading, account_choice)):
        if limit is not None and len(eligible) >= limit:
            break
        if look_at is not None and number == look_at:
            more = True
            break
        if why := selection.explain_skip(mail, action, included=included, account_choice=account_choice, fresh=fresh):
            skipped[why] += 1
            already += selection.is_already(mail, action)
            continue
        eligible.append(mail.pk)
        groups[
            (_describe_state(mail, action), *_forecast(mail, action, outlook.among(account_choice, fresh), fresh))
        ] += 1
    causes = [PreviewGroup(words, count, forecast, tone) for (words, forecast, tone), count in groups.most_common()]
    return Preview(eligible, causes, skipped, already, more)


def describe_pace(mails: int, account_choice: AccountChoice) -> str:
    """How fast these mails go out once they are queued, as the end of a sentence; with a time where all their accounts have limits."""
    rates = [one.config.rate for one in load_outlook().among(account_choice, ()).healthy]
    words = "as fast as the accounts' limits allow"
    if account_choice.not_tried or not rates or None in rates:  # the accounts not tried yet differ from mail to mail
        return f"{words}."
    a_second = sum(filter(None, rates))
    return f"{words}: {a_second:g} per second, about {durations.format_duration(mails / a_second)} if no other email is sent."


def apply_to_many(
    mail_ids: Sequence[uuid.UUID], action_request: ActionRequest, *, on_progress: Callable[[int], None] | None = None
) -> ActionCounts:
    """Carry the order out on these mails, 500 in a transaction. A mail that has moved on is counted, not an error."""
    tally = ActionCounts()
    for start in range(0, len(mail_ids), BATCH):
        carried = _carry_out(action_request, mail_ids[start : start + BATCH])
        tally.done += len(carried.done)
        tally.requested += len(carried.requested)
        tally.skipped += len(carried.already)
        tally.already += len(carried.already)
        tally.changed += len(carried.impossible) + len(carried.changed)
        if on_progress:
            on_progress(min(start + BATCH, len(mail_ids)))
    return tally


def start_bulk_action(asked: BulkAction, *, seconds: float) -> None:
    """Work on an order for many mails here and now, at most so long; the background does the rest."""
    if bulk.work_on(asked, seconds=seconds).done and asked.action in _MADE_DUE:
        _wake(QueueName.values)


def _describe_state(mail: Mail, action: Action) -> str:
    """Where it stands and why; where it is to be resolved also whom to ask."""
    reason = mail.reason_code if mail.status in (Status.DISCARDED, Status.HELD, Status.WAITING) else ""
    asked = f", last sent to {mail.provider}" if action in RESOLVING and mail.provider else ""
    return f"{Status(mail.status).label}{f': {reason}' if reason else ''}{asked}"


def _pair_with_untried(mails: Iterator[Mail], account_choice: AccountChoice) -> Iterator[tuple[Mail, frozenset[str]]]:
    """Each mail with what `orders.fresh` says for it, asked for by the batch."""
    while batch := list(islice(mails, BATCH)):
        fresh = action_execution.find_untried(account_choice, [mail.pk for mail in batch])
        yield from ((mail, fresh[mail.pk]) for mail in batch)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Accounts that can take email now, of how many, and the pauses that are active."""

    healthy: Sequence[Candidate]
    accounts: int
    pauses: ActivePauses
    account_choice: AccountChoice = EVERY_ACCOUNT

    def among(self, account_choice: AccountChoice, fresh: Collection[str]) -> "Outlook":
        """The same, as it is for a mail that goes through these accounts only."""
        if account_choice == EVERY_ACCOUNT:
            return self
        allowed = {account_choice.via} if account_choice.via else fresh
        healthy = [one for one in self.healthy if one.config.name in allowed]
        return replace(self, healthy=healthy, accounts=len(allowed), account_choice=account_choice)

    @property
    def share(self) -> str:
        """Say how many accounts can accept email: `2 of 3 accounts available`, `hades is available`."""
        if self.account_choice.via:
            return f"{self.account_choice.via} is {'available' if self.healthy else 'not available'}"
        untried = "untried " if self.account_choice.not_tried else ""
        if not self.healthy:
            return f"no {untried}account available"
        return f"{len(self.healthy)} of {self.accounts} {untried}accounts available"

    def words(self, queue: str) -> str:
        """What this comes to for a mail of this queue, in a sentence."""
        if self.pauses.all_sending:
            return "Sending is paused: it waits until sending is resumed."
        if self.pauses.get(queue):
            return f"Queue {queue} is paused: it waits until the queue is resumed."
        if not self.healthy:
            return f"It waits: {self.share}."
        return f"{self.share[0].upper()}{self.share[1:]}."


def load_outlook() -> Outlook:
    """Return the accounts that can take an email now, and the active pauses."""
    usable = [one for one in registry.load_candidates() if one.usable]
    now = database_clock.now()
    healthy = [one for one in usable if check_permission(one.breaker, now).allowed]
    return Outlook(healthy, len(usable), pauses.load_active())


def join_names(accounts: Collection[str]) -> str:
    """Join the names of accounts as a sentence lists them."""
    *before, last = sorted(accounts) or [""]
    return f"{', '.join(before)} and {last}" if before else last


def _forecast(mail: Mail, action: Action, outlook: Outlook, fresh: Collection[str]) -> tuple[str, str]:
    """What it comes to, in words, and their tone. `fresh`: accounts that are named and did not see the mail yet."""
    if mail.status == Status.SENDING and action != Action.RELEASE:
        return f"{PAST[action]} when the request in progress ends, unless it is accepted", "waiting"
    if action == Action.SENT:
        return "marked as sent; nothing is sent", "ok"
    if action not in _MADE_DUE:
        return PAST[action], "ok"
    if outlook.pauses.all_sending:
        return "waits until sending is resumed", "waiting"
    if outlook.pauses.get(mail.queue):
        return f"waits until queue {mail.queue} is resumed", "waiting"
    if not outlook.healthy:
        return f"waits: {outlook.share}", "waiting"
    return _forecast_attempt(mail, action, outlook.share, fresh)


def _forecast_attempt(mail: Mail, action: Action, words: str, fresh: Collection[str]) -> tuple[str, str]:
    """The same for a mail that goes to an account at once."""
    if action == Action.NOT_SENT:
        return f"will be sent, a duplicate if {mail.provider or 'its account'} already sent it; {words}", "unknown"
    if mail.failure_class == FailureClass.MESSAGE and fresh:
        return f"may succeed: not yet tried with {join_names(fresh)}", "waiting"
    if mail.failure_class == FailureClass.MESSAGE:
        return "will be rejected again: the message is the problem", "bad"
    if mail.possible_duplicate and action == Action.REPROCESS:
        return f"may arrive twice: {words}", "unknown"
    return f"likely to succeed: {words}", "ok"


def pause_sending(queue: str = ALL_QUEUES, *, by: str, note: str = "") -> bool:
    """Pause this queue, or all sending, on every machine; return False if it was paused before.

    Its emails are accepted as usual, and wait. Requests in progress finish, and no other follows them.
    """
    return pauses.pause(queue, by=by, note=note)


def resume_sending(queue: str = ALL_QUEUES, *, by: str) -> bool:
    """Resume this queue, or all sending, and wake its workers; return False if it was not paused."""
    resumed = pauses.resume(queue, by=by)
    if resumed:
        _wake([queue] if queue else QueueName.values)
    return resumed


def describe_pause(queue: str = ALL_QUEUES) -> str:
    """Say how many emails a pause makes wait, and how many requests it lets finish."""
    waiting = search.format_count(_select_due(queue), COUNTED_AT_MOST)
    requests = _select_queue(queue).filter(status__in=LEASED).count()
    emails = "email queued (it will wait)" if waiting == "1" else "emails queued (they will wait)"
    running = "request in progress (it will finish)" if requests == 1 else "requests in progress (they will finish)"
    return f"{waiting} {emails}; {requests:,} {running}."


def describe_resumption(queue: str = ALL_QUEUES) -> str:
    """Say how many emails a resumption lets go."""
    waiting = search.format_count(_select_due(queue), COUNTED_AT_MOST)
    if waiting == "0":
        return "No emails are queued."
    return f"{waiting} queued {'email' if waiting == '1' else 'emails'} will be sent when due."


def _select_queue(queue: str) -> MailQuerySet:
    return Mail.objects.filter(queue=queue) if queue else Mail.objects.all()


def _select_due(queue: str) -> MailQuerySet:
    return _select_queue(queue).filter(status__in=DUE)


def _carry_out(action_request: ActionRequest, mail_ids: Iterable[uuid.UUID]) -> ActionResult:
    carried = action_execution.carry_out_by_id(action_request, mail_ids)
    if action_request.action in _MADE_DUE and carried.done:
        _wake(Mail.objects.filter(pk__in=carried.done).values_list("queue", flat=True).distinct())
    return carried


def _wake(queues: Iterable[str]) -> None:
    for queue in queues:
        transaction.on_commit(partial(wake.wake_workers, queue), robust=True)
