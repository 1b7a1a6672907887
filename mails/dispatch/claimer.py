"""The claim pass: find due emails, choose their accounts, open the attempts, commit. It runs in the claim thread."""

import datetime as dt
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

import structlog
from django.db import Error

from mails import pauses
from mails.dispatch import contents
from mails.dispatch.accounts.account_pool import AccountPool
from mails.dispatch.accounts.account_selection import AccountSelection, BreakerChanged, select
from mails.dispatch.dispatcher_settings import DispatcherSettings
from mails.dispatch.due import claim
from mails.dispatch.due.allotment import Allotment, allot, merge
from mails.dispatch.due.claim import ClaimedMail
from mails.dispatch.due.due_routes import FRESH, DueRoutes
from mails.dispatch.due.pacing import Pacing
from mails.dispatch.due.queue_limits import QueueLimits, QueueRateChanged
from mails.dispatch.due.queue_turns import Turn, list_turns
from mails.dispatch.due.routes import QueuedRoute
from mails.dispatch.planner import POLL, PassResult, Planner, list_lost
from mails.dispatch.quarantine import Quarantine
from mails.dispatch.steps import transitions
from mails.dispatch.steps.transitions import Call, Result, StepPlan
from mails.lifecycle import writer
from mercury.lib.database import database_clock
from mercury.lib.database.database_errors import classify, is_temporary
from providers.routing.capacity import measure_route

log = structlog.get_logger(__name__)

AFTER_A_CHANGE = 0.05  # seconds before due emails are looked for again whose account, or queue, has just changed
SPREAD = dt.timedelta(milliseconds=200)  # in which all dispatchers look for an email that becomes due
SOON = 0.02  # seconds before an account is asked again at the earliest
NOT_STORED = "Mercury could not store its next step."


class Claimer:
    """The claim passes of one dispatcher. Methods run in the claim thread, `note_returned` in the event loop."""

    def __init__(self, queues: Sequence[str], pool: AccountPool, settings: DispatcherSettings) -> None:
        self.polled_at: dt.datetime | None = None  # when it last looked for due emails
        self.quarantine = Quarantine()
        self.planner = Planner(pool, settings)
        self._routes = DueRoutes(queues)
        self._limits = QueueLimits(queues)
        self._pacing = Pacing()
        self._is_woken = False  # emails may have arrived that the known routes do not have
        self._pool = pool
        self._settings = settings
        self._slots = pool.concurrency  # that may be in use at once
        self._returned: deque[Result] = deque()  # their calls have ended, though they may not be written yet
        self._not_stored: set[uuid.UUID] = set()  # due emails whose last step failed, for no reason that was found

    def note_returned(self, result: Result) -> None:
        """Note that a call came back, so that its slot is free for the next pass."""
        self._returned.append(result)

    def note_woken(self) -> None:
        """Note that emails may have arrived. Fit for any thread."""
        self._is_woken = True

    def claim(self, free: int, bytes_in_use: int = 0, slots: int = 0) -> PassResult:
        """Claim as many due emails as can be handed over, choose their accounts, commit the attempts, and load messages.

        `bytes_in_use`: of the emails in progress. `slots`: calls at once, unless it is what this dispatcher has.
        """
        self._slots = slots or self._pool.concurrency
        now_ns = database_clock.now_ns()
        self.planner.undo_unconfirmed(now_ns)
        self._pool.note_ended([self._returned.popleft() for _ in range(len(self._returned))])
        claimed = self._claim_with_retries(free, bytes_in_use, now_ns)
        calls, not_made = contents.load_messages(claimed.calls)
        return replace(claimed, calls=calls, not_made=not_made)

    def _claim_with_retries(self, free: int, bytes_in_use: int, now_ns: int) -> PassResult:
        one_by_one = False
        while True:
            try:
                return self._claim(free, bytes_in_use, now_ns, one_by_one=one_by_one)
            except (BreakerChanged, QueueRateChanged):  # another dispatcher won, so this ends
                continue
            except writer.NOT_STORABLE:
                if one_by_one:
                    raise
                one_by_one = True

    def undo_unconfirmed(self) -> None:
        """Undo what was claimed last, if its commit was not confirmed."""
        self.planner.undo_unconfirmed(database_clock.now_ns())

    def _claim(self, free: int, bytes_in_use: int, now_ns: int, *, one_by_one: bool) -> PassResult:
        """Claim once. `one_by_one`: an email spoilt the pass; savepoints find out which, and cost each claim two answers."""
        now = self.polled_at = database_clock.from_ns(now_ns)
        rooms = self._pool.measure_rooms(now)
        if not any(room.emails for room in rooms.values()):
            return PassResult(look_again=_count_seconds((room.until for room in rooms.values()), now))
        allotment = self._allot(free, now)
        if not allotment.branches:
            if self._routes.seen_at != now or self._routes.has_more:  # there may be others
                return PassResult(look_again=self._routes.seconds_until_look or AFTER_A_CHANGE)
            return PassResult(look_again=_count_seconds([allotment.free_at, self._find_next_due(now)], now))
        result = self._claim_from(allotment, bytes_in_use, now_ns, one_by_one=one_by_one)
        return result or self._claim(free, bytes_in_use, now_ns, one_by_one=one_by_one)

    def _allot(self, free: int, now: dt.datetime) -> Allotment:
        """Return what to claim, of the routes as they are known, or as they are now where these have nothing to claim.

        Nothing that is not urgent before a look at what has arrived since.
        """
        is_woken, self._is_woken = self._is_woken, False
        if self._routes.is_stale:
            self._routes.look(now)
        allotment = self._allot_known(free, now)
        wants_look = not allotment.branches or (is_woken and allotment.yielding)
        if wants_look and self._routes.seen_at != now and not self._routes.seconds_until_look:
            self._routes.look(now)
            allotment = self._allot_known(free, now)
        return allotment

    def _allot_known(self, free: int, now: dt.datetime) -> Allotment:
        """Return what to claim: of all urgent queues, and of the first other one whose accounts can take some."""
        due = self._routes.list_due(now)
        queues = {route.queue for route in due}
        limits = self._limits.read(now)
        turns = list_turns(queues, self._pool.count_by_queue(), limits, slots=self._slots, free=free)
        parts = [Allotment(free_at=limits[queue].until) for queue in queues if queue in limits]
        if (rest := self._pacing.count_rest()) and any(not turn.is_urgent for turn in turns):
            parts.append(Allotment(free_at=now + dt.timedelta(seconds=rest)))
            turns = [turn for turn in turns if turn.is_urgent]
        is_cut = False
        for turn in turns:
            if not turn.is_urgent and any(part.yielding for part in parts):
                is_cut = True
                break
            part = self._allot_turn(turn, [route for route in due if route.queue == turn.queue], now)
            parts.append(part if part.branches else Allotment(free_at=part.free_at))
        return merge(parts, is_cut=is_cut)

    def _allot_turn(self, turn: Turn, due: Sequence[QueuedRoute], now: dt.datetime) -> Allotment:
        rooms = self._pool.measure_rooms(now, leaves_rest=not turn.is_urgent)
        accounts = self._pool.find_accounts(route.name for route in due)
        capacities = [measure_route(own, rooms) for own in accounts]
        allotment = allot(due, capacities, rooms, free=turn.room, without_fit=self._routes.without_fit)
        return allotment if turn.is_urgent else replace(allotment, yielding=frozenset([turn.queue]))

    def _claim_from(
        self, allotment: Allotment, bytes_in_use: int, now_ns: int, *, one_by_one: bool
    ) -> PassResult | None:
        """Claim what was allotted. None if that finds nothing, and other emails are worth a look."""
        now, began = database_clock.from_ns(now_ns), time.monotonic()
        plans: list[StepPlan] = []
        with self.planner.until_confirmed(plans), claim.lock_claims():
            # One quarantined email at a time at first. So what dies with a poison message never dies with it three times, and
            # is not held as poison. After the power has failed twice, there may be thousands: see `quarantine`.
            quarantined = min(self.quarantine.count_free(), allotment.limit)
            mails = claim.select_due(
                allotment.branches,
                limit=allotment.limit,
                limits=allotment.limits,
                yielding=allotment.yielding,
                now=now,
                bytes_in_use=bytes_in_use,
                quarantined=quarantined,
            )
            with select(self._pool, now_ns) as selection:
                selection.may_probe = frozenset(self._routes.without_fit)
                selection.yielding = allotment.yielding
                plans += self._plan_all(mails, selection)
                attempts = Counter(plan.call.mail.queue for plan in plans if plan.call)
                with self._limits.reserve(attempts, now):
                    won = self.planner.record(selection, plans, one_by_one=one_by_one)
        self._hold_what_cannot_be_stored(plans, won, now_ns)
        of_others = sum(mail.queue in allotment.yielding for mail in mails)
        self._pacing.note_pass(began, urgent=of_others < len(mails), others=of_others > 0)
        is_more = self._routes.note_claimed(allotment, mails) or self._routes.seen_at != now
        if not mails and is_more:
            return None
        result = self.planner.conclude(plans, won)
        begun = {call.mail.id for call in result.calls}
        called = frozenset(mail.id for mail in mails if mail.is_quarantined and mail.id in begun)
        # What was not written, or not planned, is behind something that may last a while: look again soon, but not at once.
        if len(won) < len(plans) or (mails and not plans):
            return replace(result, quarantined=called, look_again=AFTER_A_CHANGE)
        # A quarantined email that was decided without a call is in nobody's way.
        is_cleared = not called and any(plan.draft.mail.is_quarantined for plan in plans)
        # The first email behind those that were claimed is known after the next look only.
        look_again = FRESH if mails else _count_seconds([self._find_next_due(now)], now)
        return replace(result, quarantined=called, more=is_more or is_cleared, look_again=look_again)

    def _find_next_due(self, now: dt.datetime) -> dt.datetime | None:
        """Return when to look for the next email that becomes due: each dispatcher a little later than the one before."""
        due_at = self._routes.find_next(now)
        return due_at and due_at + random.random() * SPREAD  # noqa: S311 (spreads load, keeps no secret)

    def _plan_all(self, mails: Sequence[ClaimedMail], selection: AccountSelection) -> list[StepPlan]:
        """Return the steps of these emails; none of an email that is left as it is."""
        lease = uuid.uuid4()
        alone = sum(mail.is_quarantined for mail in mails) == 1 and self.quarantine.is_empty()
        ordered = sorted(mails, key=lambda mail: mail.is_about_mailbox)  # a probe goes with an email of another kind
        plans = [self._plan(mail, selection, lease, in_company=mail.is_quarantined and not alone) for mail in ordered]
        return [plan for plan in plans if plan is not None]

    def _plan(
        self, mail: ClaimedMail, selection: AccountSelection, lease: uuid.UUID, *, in_company: bool
    ) -> StepPlan | None:
        now_ns = selection.now_ns
        try:
            draft = transitions.dequeue(
                mail, lease=lease, settings=self._settings, now_ns=now_ns, in_company=in_company
            )
            return self.planner.plan_due(draft, selection)
        except Exception as error:  # an email that we fail at must not stop the others, for ever and everywhere
            if is_temporary(error):
                raise
            log.exception("mail_not_planned", mail=str(mail.id))
            reason = f"Mercury failed to select an account: {type(error).__name__}."
            return transitions.hold_as_poison(mail, reason, now_ns=now_ns)

    def _hold_what_cannot_be_stored(self, plans: Sequence[StepPlan], won: set[uuid.UUID], now_ns: int) -> None:
        """Hold due emails whose step was not written twice in a row, for no reason that was found.

        The claim is committed by now, so a failure here must not keep its calls from being made.
        """
        try:
            self._hold_those_without_a_reason(list_lost(plans, won), now_ns)
        except Error as error:
            log.warning("unstorable_not_held", error=classify(error))

    def _hold_those_without_a_reason(self, lost: Sequence[StepPlan], now_ns: int) -> None:
        """Hold them, unless sending or their queue was paused, or their account changed, since they were selected."""
        changed = _find_changed_accounts(lost)
        lost = [plan for plan in lost if plan.call is None or _get_account_version(plan.call) not in changed]
        if not lost:
            self._not_stored.clear()
            return
        paused = pauses.find_paused([plan.step.mail_id for plan in lost], since=database_clock.from_ns(now_ns))
        broken = [plan.draft.mail for plan in lost if plan.step.mail_id not in paused]
        again = [mail for mail in broken if mail.id in self._not_stored]
        writer.record_each([transitions.hold_as_poison(mail, NOT_STORED, now_ns=now_ns).step for mail in again])
        self._not_stored = {mail.id for mail in broken} - {mail.id for mail in again}


def _find_changed_accounts(lost: Sequence[StepPlan]) -> set[tuple[str, dt.datetime | None]]:
    """Return the accounts, as they were chosen, that do not serve or were changed since. A query for each of them."""
    chosen = {_get_account_version(plan.call) for plan in lost if plan.call}
    return {(name, version) for name, version in chosen if not writer.is_serving(name, version)}


def _get_account_version(call: Call) -> tuple[str, dt.datetime | None]:
    return call.account.name, call.attempt.account_version


def _count_seconds(moments: Iterable[dt.datetime | None], now: dt.datetime) -> float:
    """Return the seconds until the first of these moments: at least 20 ms, at most `POLL`, which it is without any."""
    waits = [(moment - now).total_seconds() for moment in moments if moment]
    return min(max(min(waits, default=POLL), SOON), POLL)
