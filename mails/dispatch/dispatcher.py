"""The drain: takes due mails of its lanes, hands them to providers, and writes down what came of it.

A hub. One event loop makes the calls; two threads beside it do the database work, a group of mails at a time. One takes:
it claims, chooses, opens the attempts and commits. One closes: it writes what calls came to, and goes on with what is left.
No transaction is open during a call. Its spokes (claim, board, steps, lifecycle, sending) never call each other.
"""

import asyncio
import datetime as dt
import os
import random
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile

import structlog
from django.conf import settings
from django.db import Error, connection

from mails import pauses
from mails.dispatch import claim, local_trouble, transitions
from mails.dispatch.account_pool import Board, Outrun, Turn
from mails.dispatch.claim import MailInHand
from mails.dispatch.database_thread import DatabaseThread
from mails.dispatch.local_trouble import LocalTrouble
from mails.dispatch.transitions import Call, Draft, Plan, Result, Terms
from mails.lifecycle import action_requests, writer
from mails.lifecycle.action_requests import Evidence
from mails.lifecycle.values import LateResult
from mails.message import mime
from mails.models import Worker
from mails.states import SILENCE, Status
from mercury.lib.database import database_bounds, database_clock
from mercury.lib.database.database_errors import is_locked, is_not_now, is_rolled_back, kind
from providers.classify import MAY_BE_ONE_HOST
from providers.outcomes import FailureClass, Outcome, Refused, Unknown
from providers.routing.choose import Choice
from providers.transports.sender import Sender

log = structlog.get_logger(__name__)

HEARTBEAT = 2.5  # seconds between two heartbeats, each a chance to take up what others left
HEARTBEAT_TRUST = 7.0  # seconds; after 10 without one (SILENCE), others take over what this process holds
POLL = 2.0  # seconds between two looks into the database when nobody wakes the drain
# Suspects that came back well, for each that may be in hand: one at first, two after 128, ten after 640. What dies in
# company is held with the culprit, for it may have been sent twice; a worker lost with 256 emails costs half a minute.
ALONE = 64
GROUP_WAIT = 0.05  # seconds that the first result of a group waits for others
GROUP_WANT = 32  # results that are worth a write at once
GROUP_MOST = 256
AHEAD = 0.05  # seconds that a claim takes, in which places become free that are taken when it begins
PATIENCE = 2.0  # seconds that a mail waits for its place before it is given back
RECONSIDERED = 3  # looks at what was asked for during a call, while it changes
AFTER_A_CHANGE = 0.05  # seconds before due mails are looked for again whose account, or lane, was changed meanwhile
DATABASE_PAUSE = 1.0  # seconds before the next try while the database is away, or a row is locked
# A lease that ends sooner is kept by the heartbeat; more than one of these may fail.
KEPT_AHEAD = dt.timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a drain is. `waiting` is not known to it: a count of the due mails costs a query."""

    in_flight: int
    closed: int  # calls that came back so far
    done: int  # mails that a provider took so far


@dataclass(frozen=True, slots=True)
class _Turned:
    """What a turn of a database thread came to."""

    calls: list[Call]  # that follow from it
    done: int = 0  # mails that it ended as done
    more: bool = False  # there may be more due mails than were claimed
    suspects: frozenset[uuid.UUID] = frozenset()  # those of the calls' mails that two workers have died with
    look_again: float = POLL  # seconds after which it is worth to look again, if nobody wakes the drain before
    unwritten: Sequence[Result] = ()  # the database failed before these were written, and after the others were


def name_of_this_process() -> str:
    """A name for the heartbeat's row: host, process, and a random part against reused process numbers."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def terms_from_settings(worker: str) -> Terms:
    """The settings that every step of this worker's drain follows."""
    return Terms(
        worker=worker,
        deadline=settings.MERCURY_SEND_TIMEOUT.total_seconds(),
        final_reply=settings.MERCURY_FINAL_REPLY_TIMEOUT.total_seconds(),
        lease=settings.MERCURY_LEASE,
        backoff=settings.MERCURY_RETRY_BACKOFF,
    )


class Drain:
    """One drain of some lanes. `run` may be called once; `wake` and `stop` may be called from any thread."""

    def __init__(
        self,
        lanes: Sequence[str],
        *,
        places: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_heartbeat: Callable[[str], None] | None = None,
    ) -> None:
        """`places`: calls under way at most.

        `on_progress` is called in the event loop after each look for due mails, as their calls begin, and after each
        group of results is written. `on_heartbeat` is called every 2.5 s in a thread of its own (SQLite: that takes).
        """
        self.worker = name_of_this_process()
        self._lanes = list(lanes)
        self._places = places or settings.MERCURY_MAX_CONCURRENCY
        self._batch = max(1, self._places // 8)  # places to wait for, so that a claim is worth its transaction
        self._unwritten = self._places // 4  # results that may wait while the places of their calls are used again
        self._terms = terms_from_settings(self.worker)
        self._board = Board(places=self._places, probe_lease=settings.MERCURY_LEASE)
        self._trouble = LocalTrouble(self._places)
        self._on_progress = on_progress
        self._on_heartbeat = on_heartbeat
        self._stopping = False  # no Event: a signal's handler must not wait for the lock of one
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._results: asyncio.Queue[Result] = asyncio.Queue()
        self._under_way = 0  # calls that have not come back, and those that wait for a place
        self._in_hand: dict[uuid.UUID, Call] = {}  # calls that are under way, or whose result is not yet written
        self._apart: list[Result] = []  # results whose rows others have locked
        self._semaphore = asyncio.Semaphore(self._places)
        self._returned: deque[float] = deque(maxlen=self._unwritten)  # when the last calls came back, monotonic clock
        self._closed = self._done = 0
        self._suspects: set[uuid.UUID] = set()  # mails in hand that two workers have died with
        self._lost: set[uuid.UUID] = set()  # due mails whose last step was not taken, for no reason that was found
        self._cleared = 0  # suspects whose calls came back
        self._trusted_until = 0.0  # monotonic clock: calls may begin until then without a look at the lease
        self._on_duty_from = 0.0  # monotonic clock
        self._drained_at: dt.datetime | None = None  # when it last looked for due mails
        self._late: list[LateResult] = []
        self._evidence: list[Evidence] = []
        self._came_back: deque[Result] = deque()  # of calls whose places are free, though they are not yet written
        self._unconfirmed_takes: list[Plan] = []
        self._unconfirmed_closes: list[Plan] = []
        self._taking = DatabaseThread("mercury-taking")
        both = connection.vendor == "postgresql"  # SQLite has one writer at a time
        self._closing = DatabaseThread("mercury-closing") if both else self._taking
        # What lasts long there must not keep heartbeats and claims waiting.
        self._duties = DatabaseThread("mercury-duties", database_bounds.MAINTENANCE) if both else self._taking
        self._on_duty = False

    def wake(self) -> None:
        """Look for due mails now."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile: nobody is left to wake
                self._loop.call_soon_threadsafe(self._changed.set)

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the calls under way have ended and are written down.

        None of them lasts longer than a call's deadline from now on: what waits for the reply to its final dot is unknown then.
        """
        self._stopping = True
        self.wake()

    async def run(self, *, until_idle: bool = False, at_most: float | None = None) -> int:
        """Drain until stopped, until nothing is due (`until_idle`), or for `at_most` seconds. Returns the mails done.

        Raises nothing for what a provider or the database does: it waits for the database to come back.
        """
        self._loop = asyncio.get_running_loop()
        deadline = None if at_most is None else time.monotonic() + at_most
        async with Sender(
            deadline=self._terms.deadline,
            connect_timeout=settings.MERCURY_CONNECT_TIMEOUT.total_seconds(),
            places=self._places,
            final_reply=self._terms.final_reply,
        ) as self._sender:
            try:
                async with asyncio.TaskGroup() as self._tasks:  # one that fails ends the others, and the run
                    closing = self._tasks.create_task(self._keep_closing())
                    retrying = self._tasks.create_task(self._keep_retrying())
                    beating = self._tasks.create_task(self._keep_heartbeat())
                    await self._first_heartbeat()
                    await self._keep_claiming(until_idle=until_idle, deadline=deadline)
                    self._sender.end_calls_within(self._terms.deadline)
                    while self._in_hand:
                        self._changed.clear()
                        await self._pause(POLL)
                    for task in (closing, retrying, beating):
                        task.cancel()
            finally:
                await self._closing.run(self._tell_late)
                await self._taking.run(self._leave)
                await self.end()
        return self._done

    async def end(self) -> None:
        """Give up the database connections."""
        for thread in {self._taking, self._closing, self._duties}:
            await thread.end()

    async def _keep_claiming(self, *, until_idle: bool, deadline: float | None) -> None:
        while not self._stopping and (deadline is None or time.monotonic() < deadline):
            self._changed.clear()
            free = self._free_places()
            if free < min(self._batch, max(1, self._trouble.calls_at_once() // 8)):
                in_trouble_for = self._trouble.seconds_until_claims(time.monotonic())
                if until_idle and in_trouble_for and not self._in_hand:
                    return
                await self._pause(min(POLL, in_trouble_for or POLL))
                continue
            try:
                taken = await self._taking.run(self._take, free)
            except Error as error:
                log.warning("claim_failed", error=kind(error))
                await self._pause(DATABASE_PAUSE)
                continue
            self._go_on(taken)
            if taken.more:
                continue
            if until_idle and not self._in_hand and not self._changed.is_set() and taken.look_again >= POLL:
                return
            await self._pause(taken.look_again)

    def _free_places(self) -> int:
        """Return how many calls may begin once a claim is committed; none for a while after trouble of this machine."""
        if self._trouble.seconds_until_claims(time.monotonic()):
            return 0
        if self._trouble.limit is not None:
            return self._trouble.limit - self._under_way
        return min(
            self._places + self._soon_free() - self._under_way, self._places + self._unwritten - len(self._in_hand)
        )

    @property
    def progress(self) -> Progress:
        """How far it is; fit for any thread."""
        return Progress(self._in_flight, self._closed, self._done)

    @property
    def _in_flight(self) -> int:
        """Calls under way: a mail waits only while all places are taken."""
        return min(self._under_way, self._places)

    def _soon_free(self) -> int:
        """Places that will be free by the time that a claim is committed, as many as in the last 50 ms."""
        since = time.monotonic() - AHEAD
        return sum(1 for _ in takewhile(lambda moment: moment > since, reversed(self._returned)))

    async def _keep_closing(self) -> None:
        while True:
            await self._close_all(await self._next_group())

    async def _keep_retrying(self) -> None:
        """Write the results whose rows were locked, once they are not: apart from others, so that nobody waits for them."""
        while True:
            await asyncio.sleep(DATABASE_PAUSE)
            if self._apart:
                apart, self._apart = self._apart, []
                await self._close_all(await self._without_the_locked(apart))

    async def _close_all(self, group: list[Result]) -> None:
        """Write a group of results, however long the database takes to come back. What others have locked is set apart."""
        while group:
            try:
                closed = await self._closing.run(self._close, group)
            except Error as error:
                log.warning("close_failed", error=kind(error), results=len(group))
                rest = await self._without_the_locked(group) if is_locked(error) else group
                if len(rest) == len(group):  # all of it, or whatever else is locked
                    await asyncio.sleep(DATABASE_PAUSE)
                group = rest
                continue
            unwritten = {one.call.mail.id for one in closed.unwritten}
            self._finish([one for one in group if one.call.mail.id not in unwritten], closed)
            group = list(closed.unwritten)
            if group:
                await asyncio.sleep(DATABASE_PAUSE)

    async def _without_the_locked(self, group: list[Result]) -> list[Result]:
        """Set apart the results whose rows somebody else holds locks of, and return the others."""
        attempts = {one.call.mail.id: one.call.attempt for one in group}
        try:
            free = await self._closing.run(claim.unlocked, attempts)
        except Error as error:  # not one row, but the table, or the database
            log.warning("locks_not_known", error=kind(error))
            free = set(attempts)
        apart = [one for one in group if one.call.mail.id not in free]
        if apart:
            log.warning("rows_locked", results=len(apart), mail=str(apart[0].call.mail.id))
        self._apart += apart
        return [one for one in group if one.call.mail.id in free]

    def _finish(self, group: Sequence[Result], closed: _Turned) -> None:
        for result in group:
            self._in_hand.pop(result.call.mail.id, None)
        self._closed += len(group)
        cleared = self._suspects.intersection(result.call.mail.id for result in group)
        self._suspects -= cleared
        self._cleared += len(cleared)
        self._go_on(closed)
        self._changed.set()

    async def _first_heartbeat(self) -> None:
        """Nothing is claimed before the heartbeat's row exists: without it, others would take the mails over.

        Nor before all sending is paused, where `MERCURY_START_PAUSED` asks for that.
        """
        while not self._stopping and not (await self._pause_at_start() and await self._heartbeat()):
            await self._pause(DATABASE_PAUSE)

    async def _pause_at_start(self) -> bool:
        try:
            await self._taking.run(pauses.pause_at_start)
        except Error as error:
            log.warning("start_failed", error=kind(error))
            return False
        return True

    async def _keep_heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            await self._heartbeat()

    async def _heartbeat(self) -> bool:
        """Beat once. After a gap, others' heartbeats are stale for the same reason: judge nobody until they could beat."""
        if time.monotonic() > self._trusted_until:
            # A process that begins lets others beat once more: the clock may have jumped before its first look.
            grace = SILENCE.total_seconds() if self._trusted_until else 2 * HEARTBEAT
            self._on_duty_from = time.monotonic() + grace
        began = time.monotonic()
        try:
            await self._taking.run(self._beat)
            if time.monotonic() - began > HEARTBEAT:  # the database stood still: nobody else could beat either
                self._judge_nobody_until_all_could_beat()
            self._do_duties()
            if self._late or self._evidence:
                await self._closing.run(self._record_late)
        except Error as error:
            log.warning("heartbeat_failed", error=kind(error))
            self._judge_nobody_until_all_could_beat()
            return False
        return True

    def _judge_nobody_until_all_could_beat(self) -> None:
        self._on_duty_from = time.monotonic() + SILENCE.total_seconds()

    def _do_duties(self) -> None:
        """Begin what is done at each heartbeat, unless the last time has not ended yet."""
        if self._on_heartbeat is None or self._on_duty or time.monotonic() < self._on_duty_from:
            return
        self._on_duty = True
        self._tasks.create_task(self._on_duties())

    async def _on_duties(self) -> None:
        assert self._on_heartbeat is not None  # noqa: S101 (the caller looked)
        try:
            await self._duties.run(self._on_heartbeat, self.worker)
        except Error as error:
            log.warning("duties_failed", error=kind(error))
        finally:
            self._on_duty = False

    async def _next_group(self) -> list[Result]:
        """Results worth one write: those that arrive within 50 ms, fewer if no call is under way any more."""
        group = [await self._results.get()]
        until = time.monotonic() + GROUP_WAIT
        while len(group) < GROUP_MOST:
            if not self._results.empty():
                group.append(self._results.get_nowait())
                continue
            left = until - time.monotonic()
            if left <= 0 or len(group) >= GROUP_WANT or not self._under_way:
                break
            try:
                group.append(await asyncio.wait_for(self._results.get(), left))
            except TimeoutError:
                break
        return group

    def _go_on(self, turned: _Turned) -> None:
        calls = turned.calls
        self._done += turned.done
        self._in_hand |= {call.mail.id: call for call in calls}
        self._under_way += len(calls)
        self._suspects |= turned.suspects
        for call in calls:
            self._tasks.create_task(self._call(call))
        if self._on_progress:
            self._on_progress(self.progress)

    async def _call(self, call: Call) -> None:
        structlog.contextvars.bind_contextvars(mail=str(call.mail.id))  # of this task alone
        result = await self._result(call)
        self._under_way -= 1
        self._came_back.append(result)
        self._results.put_nowait(result)
        if self._places - self._under_way == self._batch or self._trouble.limit is not None:
            self._changed.set()

    async def _result(self, call: Call) -> Result:
        if not await self._found_place():
            return Result(call, transitions.NO_PLACE, 0.0)
        try:
            began = time.perf_counter()
            outcome = await self._outcome(call)
            self._note_trouble(outcome)
            return Result(call, outcome, time.perf_counter() - began, put_off=self._trouble.wait)
        finally:
            self._semaphore.release()
            self._returned.append(time.monotonic())

    def _note_trouble(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Refused) or outcome.failure_class not in (FailureClass.LOCAL, FailureClass.RATE):
            self._trouble.pass_by()
        elif outcome.failure_class == FailureClass.LOCAL and self._trouble.meet(
            outcome.reason,
            under_way=self._in_flight,
            now=time.monotonic(),
            may_be_one_host=outcome.reason_code in MAY_BE_ONE_HOST,
        ):
            log.warning("local_trouble_met", reason=outcome.reason, calls_at_once=self._trouble.calls_at_once())

    async def _found_place(self) -> bool:
        """Take a free place; wait for one if need be, but not for long, and begin nothing after a stop."""
        if not self._semaphore.locked():
            return await self._semaphore.acquire()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._semaphore.acquire()
        except TimeoutError:
            return False
        if self._stopping:
            self._semaphore.release()
            return False
        return True

    async def _outcome(self, call: Call) -> Outcome:
        """Call the provider; not if this process can no longer be sure of its lease."""
        mail = call.mail
        if time.monotonic() > self._trusted_until and not await self._still_ours(call):
            log.warning("call_not_made", account=call.account.name)
            return transitions.NOT_CALLED
        to = [one.address for one in mail.open_recipients]
        try:
            built = mime.build_message(
                mail.id,
                sender=mail.sender,
                recipients=to,
                shown_to=[one.address for one in mail.recipients],
                subject=mail.subject,
                text=mail.text,
                accepted_at=mail.created_at,
            )
        except (OSError, MemoryError) as error:
            return local_trouble.outcome_of(error)
        except Exception:  # a mail that we fail at must not end the calls of the others
            log.exception("message_not_built")
            return transitions.NOT_BUILT
        return await self._sender.send(call.account, built)

    async def _still_ours(self, call: Call) -> bool:
        if time.monotonic() > self._trusted_until and not await self._heartbeat():
            return False
        try:
            return await self._taking.run(self._is_held, call)
        except Error as error:
            log.warning("lease_not_confirmed", error=kind(error))
            return False

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    # What follows runs in the threads that take and close.

    def _take(self, free: int) -> _Turned:
        """Take as many due mails as can be handed over, choose their accounts, and commit the attempts."""
        now_ns = database_clock.now_ns()
        self._take_back(self._unconfirmed_takes, now_ns)
        self._board.ended([self._came_back.popleft() for _ in range(len(self._came_back))])
        one_by_one = False
        while True:
            try:
                return self._taken(free, now_ns, one_by_one=one_by_one)
            except Outrun:  # another drain won, so this ends
                continue
            except writer.NOT_STORABLE:
                if one_by_one:
                    raise
                one_by_one = True

    def _taken(self, free: int, now_ns: int, *, one_by_one: bool) -> _Turned:
        """`one_by_one`: one of the mails spoilt the claim. Savepoints find out which, and cost each claim two answers."""
        now = self._drained_at = database_clock.from_ns(now_ns)
        room = min(free, self._board.capacity(now))
        if room < 1:
            return _Turned([], look_again=self._board.next_chance(now))
        plans: list[Plan] = []
        with self._until_confirmed(plans, self._unconfirmed_takes), claim.turn():
            mails = self._due(room, now)
            lease = uuid.uuid4()
            with self._board.turn(now) as turn:
                still = self._board.capacity(now)  # the other thread may have used some for mails in hand
                mails.sort(key=lambda mail: mail.is_about_mailbox)  # a probe goes with an email of another kind
                turn.probes_for_all = all(mail.is_about_mailbox for mail in mails) and self._board.only_probes(now)
                suspects = frozenset(mail.id for mail in mails if mail.is_suspect)
                alone = len(suspects) == 1 and not self._suspects
                plans += [
                    self._first(mail, turn, lease, now, now_ns, in_company=mail.is_suspect and not alone)
                    for mail in mails[:still]
                ]
                won = self._record(turn, plans, one_by_one=one_by_one)
        self._hold_what_cannot_be_stored(plans, won, now_ns)
        turned = self._turned(plans, won)
        called = suspects & {call.mail.id for call in turned.calls}
        # A suspect that is not called, since no account is left for it, stands in nobody's way.
        more = len(mails) == room or (len(suspects) > 0 and not called)
        if len(won) < len(plans):  # what is behind that may last a while: look again soon, but not at once
            return replace(turned, suspects=called, look_again=AFTER_A_CHANGE)
        return replace(turned, suspects=called, more=more)

    def _due(self, room: int, now: dt.datetime) -> list[MailInHand]:
        """Due mails, first the suspects, which two workers have died with and one of which may abort this process.

        One suspect at a time at first. So what dies with a poisonous mail never dies with it three times, and is not
        taken for poison. The more of them came back well, the more are taken together: after the power has failed
        twice, there may be thousands.
        """
        wanted = max(1, self._cleared // ALONE) - len(self._suspects)
        suspects = min(max(wanted, 0), room)
        if self._board.only_probes(now):
            fit = claim.due(self._lanes, limit=room, now=now, suspects=suspects, fit_for_probe=True)
            if fit:
                return fit
        return claim.due(self._lanes, limit=room, now=now, suspects=suspects)

    def _close(self, results: Sequence[Result]) -> _Turned:
        """Write what the calls came to, and hand what was refused to the next account."""
        now_ns = database_clock.now_ns()
        now = database_clock.from_ns(now_ns)
        self._take_back(self._unconfirmed_closes, now_ns)
        self._board.ended(results)
        plans: list[Plan] = []
        while True:
            try:
                with self._until_confirmed(plans, self._unconfirmed_closes), self._board.turn(now) as turn:
                    judged = turn.judge(results)
                    plans[:] = [self._after(result, turn, now, now_ns) for result in judged]
                    won = self._record(turn, plans, one_by_one=True)
                break
            except Outrun:
                continue
        turned = self._turned(plans, won)
        again, failed = self._reconsider([result for result in judged if result.call.mail.id not in won], now_ns)
        won |= {plan.step.mail_id for plan in again}
        unwritten = [result for result in results if result.call.mail.id in failed]
        late = [result for result in judged if result.call.mail.id not in won | failed]
        self._late += [transitions.late(result, now_ns=now_ns) for result in late]
        self._evidence += filter(None, map(transitions.evidence, late))
        self._tell_others([result for result in results if result.call.mail.id not in failed], now)
        return replace(turned, done=turned.done + _done(again), unwritten=unwritten)

    def _first(
        self,
        mail: MailInHand,
        turn: Turn,
        lease: uuid.UUID,
        now: dt.datetime,
        now_ns: int,
        *,
        in_company: bool,
    ) -> Plan:
        try:
            draft = transitions.dequeued(mail, lease=lease, terms=self._terms, now_ns=now_ns, in_company=in_company)
            return self._onward(draft, turn, now, now_ns, first=True)
        except Exception as error:  # a mail that we fail at must not stop the others, for ever and everywhere
            if is_not_now(error):
                raise
            log.exception("mail_not_planned", mail=str(mail.id))
            reason = f"Mercury failed while it chose an account: {type(error).__name__}."
            return transitions.poisoned(mail, reason, now_ns=now_ns)

    def _after(self, result: Result, turn: Turn, now: dt.datetime, now_ns: int) -> Plan:
        answer = transitions.answered(result, now_ns=now_ns)
        return self._onward(answer, turn, now, now_ns, first=False) if isinstance(answer, Draft) else answer

    def _reconsider(self, lost: Sequence[Result], now_ns: int) -> tuple[list[Plan], set[uuid.UUID]]:
        """Take up what somebody asked for during a call, or a pause of its queue or of all sending.

        Returns the plans that were carried out, and the emails left where the database failed: the group's other steps
        are committed by then, so their calls must be made. A query only where a step was lost; a wish that changes
        meanwhile is looked at again.
        """
        carried_out: list[Plan] = []
        left = {result.call.mail.id: result for result in lost}
        for _ in range(RECONSIDERED):
            try:
                wishes = claim.wishes({mail_id: one.call.attempt for mail_id, one in left.items()}) if left else {}
                plans = [
                    transitions.reconsidered(left[mail_id], wish, now_ns=now_ns) for mail_id, wish in wishes.items()
                ]
                won = writer.record_each([plan.step for plan in plans]) if plans else set()
            except Error as error:
                log.warning("close_failed", error=kind(error), results=len(left))
                return carried_out, set(left)
            if not wishes:
                break
            carried_out += [plan for plan in plans if plan.step.mail_id in won]
            left = {mail_id: one for mail_id, one in left.items() if mail_id not in won}
        return carried_out, set()

    def _onward(self, draft: Draft, turn: Turn, now: dt.datetime, now_ns: int, *, first: bool) -> Plan:
        """Where a mail that is not settled goes: to an account, to wait, or to an end."""
        if now >= draft.mail.expires_at:
            return transitions.expired(draft, now_ns=now_ns)
        if self._stopping and not first:
            return transitions.handed_back(draft, now_ns=now_ns)
        choice = _choose(draft, turn, first=first)
        if choice.candidate is None:
            jitter = random.uniform(-1, 1)  # noqa: S311 (spreads load, keeps no secret)
            return transitions.left_over(draft, choice, terms=self._terms, now_ns=now_ns, jitter=jitter)
        plan = transitions.handed_over(draft, choice, terms=self._terms, now_ns=now_ns)
        if plan.call is not None:
            turn.began(plan.call)
        return plan

    def _record(self, turn: Turn, plans: Sequence[Plan], *, one_by_one: bool) -> set[uuid.UUID]:
        """Record the steps, and return the ids of the winners."""
        record = writer.record_each if one_by_one else writer.record
        with turn.taking():
            return record([plan.step for plan in plans])

    @contextmanager
    def _until_confirmed(self, plans: Sequence[Plan], unconfirmed: list[Plan]) -> Iterator[None]:
        """Around a transaction: if it fails, it may have been committed all the same, and its hand-overs are kept there."""
        try:
            yield
        except Error as error:
            begun = [plan for plan in plans if plan.call]
            if not isinstance(error, writer.NOT_STORABLE) and not is_rolled_back(error):
                unconfirmed += begun
            self._board.undo(plan.call for plan in begun if plan.call)
            raise

    def _turned(self, plans: Sequence[Plan], won: set[uuid.UUID]) -> _Turned:
        """What follows from those that won, once all is committed. Where one lost, accounts may have changed: read them."""
        lost = [plan.call for plan in plans if plan.call and plan.step.mail_id not in won]
        if lost:
            self._board.undo(lost)
        winners = [plan for plan in plans if plan.step.mail_id in won]
        return _Turned([plan.call for plan in winners if plan.call], _done(winners))

    def _hold_what_cannot_be_stored(self, plans: Sequence[Plan], won: set[uuid.UUID], now_ns: int) -> None:
        """Hold due mails whose step was not taken twice in a row, for no reason that was found.

        The claim is committed by now, so a failure here must not keep its calls from being made.
        """
        try:
            self._hold_those_without_a_reason([plan for plan in plans if plan.step.mail_id not in won], now_ns)
        except Error as error:
            log.warning("unstorable_not_held", error=kind(error))

    def _hold_those_without_a_reason(self, lost: Sequence[Plan], now_ns: int) -> None:
        """All sending or their queue may have been paused, or their account changed, since it was asked for them."""
        reason = "Mercury could not store what was about to happen to it."
        changed = _changed_accounts(lost)
        lost = [plan for plan in lost if plan.call is None or _choice_of(plan.call) not in changed]
        if not lost:
            self._lost.clear()
            return
        paused = pauses.find_paused([plan.step.mail_id for plan in lost], since=database_clock.from_ns(now_ns))
        broken = [plan.draft.mail for plan in lost if plan.step.mail_id not in paused]
        again = [mail for mail in broken if mail.id in self._lost]
        writer.record_each([transitions.poisoned(mail, reason, now_ns=now_ns).step for mail in again])
        self._lost = {mail.id for mail in broken} - {mail.id for mail in again}

    def _take_back(self, unconfirmed: list[Plan], now_ns: int) -> None:
        """Undo the hand-overs whose commit was not confirmed and happened all the same: their calls were never made."""
        if unconfirmed:
            writer.record_each([transitions.not_begun(plan, now_ns=now_ns) for plan in unconfirmed])
            unconfirmed.clear()

    def _is_held(self, call: Call) -> bool:
        until = database_clock.now() + dt.timedelta(seconds=self._terms.deadline)
        return claim.is_held(call.mail.id, call.attempt.lease, until=until)

    def _tell_others(self, results: Sequence[Result], now: dt.datetime) -> None:
        """Logs, breakers, and evidence about mails that are no longer ours. A failure here never undoes a result."""
        _log_failures(results)
        try:
            self._board.observe(results, now)
        except Error as error:
            log.warning("breakers_not_told", error=kind(error))
        self._tell_late()

    def _tell_late(self) -> None:
        try:
            self._record_late()
        except Error as error:
            log.warning("late_results_not_told", error=kind(error))

    def _record_late(self) -> None:
        if self._late:
            for mail_id, _, _ in self._late:
                log.warning("result_came_late", mail=str(mail_id))
            writer.record_late(self._late)
            self._late = []
        if self._evidence:
            action_requests.weigh(self._evidence)
            self._evidence = []

    def _beat(self) -> None:
        asked = time.monotonic()
        database_clock.look()
        now = database_clock.now()
        Worker.objects.update_or_create(
            id=self.worker,
            defaults={"seen_at": now} | self._doings(now),
            create_defaults={"seen_at": now, "started_at": now} | self._doings(now),
        )
        self._trusted_until = asked + HEARTBEAT_TRUST

    def _doings(self, now: dt.datetime) -> dict[str, object]:
        """What this drain does, for its row.

        Leases that end soon are kept there: an SMTP server has minutes to answer the final dot, a result may wait for a
        lock. The email's own row is not written for that: it may be locked, and the heartbeat must not wait for it.
        """
        soon = now + KEPT_AHEAD
        ends = {mail_id: call.mail.state.lease_expires_at for mail_id, call in self._in_hand.copy().items()}
        return {
            "leases_kept": [str(mail_id) for mail_id, end in ends.items() if end is not None and end < soon],
            "lanes": self._lanes,
            "places": self._places,
            "in_flight": self._in_flight,
            "closed": self._closed,
            "done": self._done,
            "drained_at": self._drained_at,
            "trouble": self._trouble.shown(time.monotonic())[:200],
        }

    def _leave(self) -> None:
        try:
            self._take_back(self._unconfirmed_takes, database_clock.now_ns())
            Worker.objects.filter(id=self.worker).delete()
        except Error as error:
            log.warning("goodbye_failed", error=kind(error))


def _choose(draft: Draft, turn: Turn, *, first: bool) -> Choice:
    """Return the account for an email: one that has left an answer missing gets it again only if no other can take it."""
    mail, tried = draft.mail, draft.state.tried
    probes = turn.probes_for_all or draft.state.fault != FailureClass.RECIPIENT
    if mail.unanswered_by and mail.unanswered_by not in tried:
        elsewhere = turn.choose(
            tried, first=first, bounds=replace(mail.bounds, unanswered_by=mail.unanswered_by), probes=probes
        )
        if elsewhere.candidate is not None:
            return elsewhere
    return turn.choose(tried, first=first, bounds=mail.bounds, probes=probes)


def _changed_accounts(lost: Sequence[Plan]) -> set[tuple[str, dt.datetime | None]]:
    """Return the accounts, as they were chosen, that do not serve or were changed since. A query for each of them."""
    chosen = {_choice_of(plan.call) for plan in lost if plan.call}
    return {(name, version) for name, version in chosen if not writer.is_serving(name, version)}


def _choice_of(call: Call) -> tuple[str, dt.datetime | None]:
    return call.account.name, call.attempt.account_version


def _done(plans: Sequence[Plan]) -> int:
    return sum(plan.step.after.status == Status.DONE for plan in plans)


def _log_failures(results: Sequence[Result]) -> None:
    for result in results:
        mail, account = str(result.call.mail.id), result.call.account.name
        match result.outcome:
            case Refused(failure_class=fault, reason_code=reason_code):
                log.info("attempt_refused", mail=mail, account=account, fault=fault, reason_code=reason_code)
            case Unknown(reason_code=reason_code):
                log.warning("attempt_unknown", mail=mail, account=account, reason_code=reason_code)
