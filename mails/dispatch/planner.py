"""Shared by both passes: plan where an email goes next, record the plans, and undo what was not confirmed."""

import random
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from django.db import Error, transaction

from mails.dispatch import retry_policy
from mails.dispatch.accounts.account_pool import AccountPool
from mails.dispatch.accounts.account_selection import AccountSelection
from mails.dispatch.dispatcher_settings import DispatcherSettings
from mails.dispatch.due import claim
from mails.dispatch.due.unanswered import EXPIRED_UNKNOWN, must_repeat
from mails.dispatch.steps import transitions
from mails.dispatch.steps.transitions import Call, Result, StepDraft, StepPlan
from mails.lifecycle import writer
from mails.states import Status
from mercury.lib.database.database_errors import is_rolled_back
from providers.outcomes import FailureClass
from providers.routing import repeats
from providers.routing.choose import RoutingDecision

REPEATED = "repeats attempt {} with the same idempotency key, so the provider sends no second copy"
FORGOTTEN = "It may have been sent, and its account would no longer recognize a repeated request."
POLL = 2.0  # seconds between two looks into the database when nobody wakes the dispatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """Result of a committed claim pass or record pass."""

    calls: list[Call] = field(default_factory=list)
    not_made: Sequence[Result] = ()  # in place of calls whose message could not be loaded
    done: int = 0  # emails that it ended as done
    more: bool = False  # there may be more due emails than were claimed
    quarantined: frozenset[uuid.UUID] = frozenset()  # those of the calls' emails that a worker has died with
    look_again: float = POLL  # seconds after which it is worth to look again, if nobody wakes the dispatcher before
    unwritten: Sequence[Result] = ()  # the database failed before these were written, and after the others were


class Planner:
    """The planner of one database thread. It keeps the hand-overs whose commit was not confirmed."""

    def __init__(self, pool: AccountPool, settings: DispatcherSettings) -> None:
        self.unconfirmed: list[StepPlan] = []
        self._pool = pool
        self._settings = settings

    def plan_due(self, draft: StepDraft, selection: AccountSelection) -> StepPlan | None:
        """Plan where a due email goes. None leaves it as it is: others took what its accounts could take meanwhile."""
        return self._plan(draft, selection, first=True)

    def plan_next(self, draft: StepDraft, selection: AccountSelection, *, give_back: bool = False) -> StepPlan:
        """Plan where an email goes after a call: to another account, to wait, or to an end. `give_back`: to no account."""
        if give_back and selection.now < draft.mail.expires_at:
            return transitions.requeue(draft, now_ns=selection.now_ns)
        plan = self._plan(draft, selection, first=False)
        assert plan is not None  # noqa: S101 (only a due email can be left as it is)
        return plan

    def _plan(self, draft: StepDraft, selection: AccountSelection, *, first: bool) -> StepPlan | None:
        now_ns = selection.now_ns
        if draft.mail.suppressed:
            draft = transitions.suppress(draft, now_ns=now_ns)
            if not draft.mail.open_recipients:
                return transitions.end_suppressed(draft, now_ns=now_ns)
        is_over = selection.now >= draft.mail.expires_at
        if must_repeat(draft.mail.unanswered, draft.mail.delivery_guarantee):
            if is_over:
                return transitions.hold_as_unknown(draft, EXPIRED_UNKNOWN, now_ns=now_ns)
            if not _is_repeatable(draft, selection):
                return transitions.hold_as_unknown(draft, FORGOTTEN, now_ns=now_ns)
        if is_over:
            return transitions.expire(draft, now_ns=now_ns)
        choice = choose_account(draft, selection, first=first)
        if choice.candidate is None:
            if first and not must_decide(draft, choice):
                return None
            jitter = random.uniform(-1, 1)  # noqa: S311 (spreads load, keeps no secret)
            return transitions.plan_wait_or_discard(
                draft, choice, settings=self._settings, now_ns=now_ns, jitter=jitter
            )
        plan = transitions.hand_over(draft, choice, settings=self._settings, now_ns=now_ns)
        if plan.call is not None:
            selection.note_begun(plan.call)
        return plan

    def record(self, selection: AccountSelection, plans: Sequence[StepPlan], *, one_by_one: bool) -> set[uuid.UUID]:
        """Record the steps, and return the ids of the emails that took theirs."""
        record = writer.record_each if one_by_one else writer.record
        with selection.reserve():
            won = record([plan.step for plan in plans])
            selection.give_back([plan.call for plan in list_lost(plans, won) if plan.call])
            return won

    @contextmanager
    def until_confirmed(self, plans: Sequence[StepPlan]) -> Iterator[None]:
        """Wrap a transaction: if it fails, it may have been committed all the same, so keep its hand-overs."""
        try:
            yield
        except Error as error:
            begun = [plan for plan in plans if plan.call]
            if not isinstance(error, writer.NOT_STORABLE) and not is_rolled_back(error):
                self.unconfirmed += begun
            self._pool.undo(plan.call for plan in begun if plan.call)
            raise

    def undo_unconfirmed(self, now_ns: int) -> None:
        """Undo the hand-overs whose commit was not confirmed and happened all the same: their calls were never made.

        Keeps those whose emails are locked: a server that stood still may yet carry out the commit that it was sent.
        """
        if self.unconfirmed:
            with transaction.atomic():
                free = claim.lock_free(plan.step.mail_id for plan in self.unconfirmed)
                undone = [plan for plan in self.unconfirmed if plan.step.mail_id in free]
                writer.record_each([transitions.undo_hand_over(plan, now_ns=now_ns) for plan in undone])
            self.unconfirmed = [plan for plan in self.unconfirmed if plan.step.mail_id not in free]

    def conclude(self, plans: Sequence[StepPlan], won: set[uuid.UUID]) -> PassResult:
        """Return what follows from the steps that were written. Where one was not, accounts may have changed: read them."""
        lost = list_lost(plans, won)
        if calls := [plan.call for plan in lost if plan.call]:
            self._pool.undo(calls)
        winners = [plan for plan in plans if plan.step.mail_id in won] if lost else plans
        return PassResult(calls=[plan.call for plan in winners if plan.call], done=count_done(winners))


def list_lost(plans: Sequence[StepPlan], won: Collection[uuid.UUID]) -> list[StepPlan]:
    """Return the plans whose emails are not among those that took their step; as a rule there are none."""
    return [] if len(won) == len(plans) else [plan for plan in plans if plan.step.mail_id not in won]


def must_decide(draft: StepDraft, choice: RoutingDecision) -> bool:
    """Return True if a due email that no account can take now cannot just stay as it is. See `allotment`."""
    if draft.mail.route.is_cut or not choice.can_carry:
        return True
    if choice.is_too_much:
        return True  # other emails of its route may still go: it must not be claimed again and again
    if must_repeat(draft.mail.unanswered, draft.mail.delivery_guarantee):
        return True  # its route does not say which account it waits for
    return retry_policy.must_decide(draft.state.failure_classes, may_wait=choice.free_at is not None)


def choose_account(draft: StepDraft, selection: AccountSelection, *, first: bool) -> RoutingDecision:
    """Choose the account for an email: one that has left an answer missing gets it again only if no other can take it.

    But one that recognizes the request gets it first: it sends no second copy.
    """
    mail, route, tried = draft.mail, draft.mail.route.accounts, draft.state.tried
    if tried != route.tried:
        route = replace(route, tried=tried)
    probes = mail.route_name in selection.may_probe or draft.state.failure_class != FailureClass.RECIPIENT
    earlier, constraint = mail.unanswered, route.constraint
    ask = partial(selection.choose, first=first, probes=probes, queue=mail.queue, recipients=len(mail.open_recipients))
    if earlier is None:
        return ask(route)
    if _is_repeatable(draft, selection):
        same = ask(replace(route, constraint=replace(constraint, repeated_by=earlier.account)))
        if same.candidate is not None:
            return replace(same, why=REPEATED.format(repeats.get_first_attempt(earlier.key_scope)))
        if must_repeat(earlier, mail.delivery_guarantee):
            return same
    elif earlier.account not in tried:
        others = replace(route, constraint=replace(constraint, unanswered_by=earlier.account))
        elsewhere = ask(others)
        if elsewhere.candidate is not None:
            return elsewhere
    return ask(route)


def _is_repeatable(draft: StepDraft, selection: AccountSelection) -> bool:
    """Return True if the email's unanswered request can be repeated without a second copy."""
    unanswered = draft.mail.unanswered
    return unanswered is not None and unanswered.is_repeatable(selection.find(unanswered.account), selection.now)


def count_done(plans: Sequence[StepPlan]) -> int:
    """Return how many emails these plans end as done."""
    return sum(plan.step.after.status == Status.DONE for plan in plans)
