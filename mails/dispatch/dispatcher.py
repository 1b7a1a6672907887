"""The dispatcher: claims due emails of its queues, hands them to providers, and records the results.

A hub. One event loop makes the calls; two threads do the database work, a group of emails at a time. One claims: it
selects emails, chooses their accounts, opens the attempts and commits. One records: it writes the results of calls, and hands
what was refused to the next account. No transaction is open during a call. Its spokes never call each other.
"""

import asyncio
import datetime as dt
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import Error

from mails import pauses
from mails.dispatch import claim, heartbeat
from mails.dispatch.account_pool import AccountPool
from mails.dispatch.calls import Caller
from mails.dispatch.claimer import Claimer
from mails.dispatch.database_thread import Threads
from mails.dispatch.heartbeat import Heartbeat
from mails.dispatch.local_trouble import LocalTrouble
from mails.dispatch.planner import POLL, PassResult
from mails.dispatch.recorder import Recorder
from mails.dispatch.transitions import Call, DispatcherSettings, Result
from mercury.lib.database.database_errors import classify, is_locked
from providers.transports.sender import Sender

log = structlog.get_logger(__name__)

GROUP_WAIT = 0.05  # seconds that the first result of a group waits for others
GROUP_WANT = 32  # results that are worth a write at once
GROUP_MOST = 256
DATABASE_PAUSE = 1.0  # seconds before the next try while the database is away, or a row is locked
# A lease that ends sooner is kept by the heartbeat; more than one of these may fail.
KEPT_AHEAD = dt.timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a dispatcher, without the emails that wait: a count of the due ones costs a query."""

    in_flight: int
    closed: int  # calls that came back so far
    done: int  # emails that a provider accepted so far


def name_process() -> str:
    """Return a name for the heartbeat's row: host, process, and a random part against reused process numbers."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def read_terms(worker: str) -> DispatcherSettings:
    """Return the settings that every step of this worker's dispatcher follows."""
    return DispatcherSettings(
        worker=worker,
        deadline=settings.MERCURY_SEND_TIMEOUT.total_seconds(),
        final_reply=settings.MERCURY_FINAL_REPLY_TIMEOUT.total_seconds(),
        lease=settings.MERCURY_LEASE,
        backoff=settings.MERCURY_RETRY_BACKOFF,
    )


class Dispatcher:
    """One dispatcher of some queues. `run` may be called once; `wake` and `stop` may be called from any thread.

    Its own methods run in the event loop; `claimer`, `recorder` and `heartbeat` work in the database threads.
    """

    def __init__(
        self,
        queues: Sequence[str],
        *,
        concurrency: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_heartbeat: Callable[[str], None] | None = None,
        worker: str = "",
    ) -> None:
        """`concurrency`: calls in progress at most.

        `on_progress` is called in the event loop after each look for due emails, as their calls begin, and after each
        group of results is written. `on_heartbeat` is called in the event loop after each heartbeat (2.5 s) after which
        this process may judge others: periodic tasks begin then, in threads of their own.
        `worker`: the name of its row, if not a new one.
        """
        self.worker = worker or name_process()
        self._queues = list(queues)
        self._concurrency = concurrency or settings.MERCURY_MAX_CONCURRENCY
        self._batch = max(1, self._concurrency // 8)  # slots to wait for, so that a claim is worth its transaction
        self._unwritten = self._concurrency // 4  # results that may wait while the slots of their calls are used again
        self._on_progress = on_progress
        self._stopping = False  # no Event: a signal's handler must not wait for the lock of one
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._results: asyncio.Queue[Result] = asyncio.Queue()
        self._open_calls: dict[uuid.UUID, Call] = {}  # calls in progress, and those whose result is not yet written
        self._locked: list[Result] = []  # results whose rows others have locked
        self._closed = self._done = 0
        self.terms = read_terms(self.worker)
        self.threads = Threads.start()
        self.pool = AccountPool(concurrency=self._concurrency, probe_lease=settings.MERCURY_LEASE)
        self.trouble = LocalTrouble(self._concurrency)
        self.claimer = Claimer(self._queues, self.pool, self.terms)
        self.recorder = Recorder(self.pool, self.terms, is_stopping=self._is_stopping)
        self.heartbeat = Heartbeat(self.threads, self.terms, describe=self._describe, on_heartbeat=on_heartbeat)
        self.caller = Caller(
            self._concurrency,
            trouble=self.trouble,
            confirm_lease=self.heartbeat.confirm_lease,
            is_stopping=self._is_stopping,
        )

    def wake(self) -> None:
        """Look for due emails now."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended: nobody is left to wake
                self._loop.call_soon_threadsafe(self._changed.set)

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the calls in progress have ended and are written down.

        None of them lasts longer than its timeout from now on: one that waits for the reply to its final dot is unknown then.
        """
        self._stopping = True
        self.wake()

    def _is_stopping(self) -> bool:
        return self._stopping

    async def run(self, *, until_idle: bool = False, at_most: float | None = None) -> int:
        """Dispatch until stopped, until nothing is due (`until_idle`), or for `at_most` seconds. Return the emails done.

        Raises nothing for what a provider or the database does: it waits for the database to come back.
        """
        self._loop = asyncio.get_running_loop()
        deadline = None if at_most is None else time.monotonic() + at_most
        async with Sender(
            deadline=self.terms.deadline,
            connect_timeout=settings.MERCURY_CONNECT_TIMEOUT.total_seconds(),
            concurrency=self._concurrency,
            final_reply=self.terms.final_reply,
        ) as sender:
            self.caller.sender = sender
            try:
                async with asyncio.TaskGroup() as self._tasks:  # one that fails ends the others, and the run
                    endless = (self._keep_recording(), self._keep_retrying(), self._keep_beating())
                    tasks = [self._tasks.create_task(work) for work in endless]
                    await self._start()
                    await self._keep_claiming(until_idle=until_idle, deadline=deadline)
                    sender.end_calls_within(self.terms.deadline)
                    while self._open_calls:
                        self._changed.clear()
                        await self._pause(POLL)
                    for task in tasks:
                        task.cancel()
            finally:
                await self.threads.record.run(self.recorder.try_to_record_late)
                await self.threads.claim.run(self._leave)
                await self.end()
        return self._done

    async def end(self) -> None:
        """Close the database connections."""
        await self.threads.end()

    @property
    def progress(self) -> Progress:
        """Return its progress; fit for any thread."""
        return Progress(in_flight=self.caller.in_flight, closed=self._closed, done=self._done)

    async def _start(self) -> None:
        """Claim nothing before the heartbeat's row exists: without it, others would recover its emails.

        Nor before sending is paused, where `MERCURY_START_PAUSED` asks for that.
        """
        while not self._stopping and not (await self._pause_at_start() and await self._beat()):
            await self._pause(DATABASE_PAUSE)

    async def _pause_at_start(self) -> bool:
        try:
            await self.threads.claim.run(pauses.pause_at_start)
        except Error as error:
            log.warning("start_failed", error=classify(error))
            return False
        return True

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(heartbeat.HEARTBEAT)
            await self._beat()

    async def _beat(self) -> bool:
        beaten = await self.heartbeat.beat()
        if beaten and self.recorder.has_late():
            try:
                await self.threads.record.run(self.recorder.record_late)
            except Error as error:
                log.warning("late_results_not_recorded", error=classify(error))
                self.heartbeat.judge_nobody_until_all_could_beat()
                return False
        return beaten

    async def _keep_claiming(self, *, until_idle: bool, deadline: float | None) -> None:
        while not self._stopping and (deadline is None or time.monotonic() < deadline):
            self._changed.clear()
            free = self._count_free_slots()
            if free < min(self._batch, max(1, self.trouble.calls_at_once() // 8)):
                in_trouble_for = self.trouble.seconds_until_claims(time.monotonic())
                if until_idle and in_trouble_for and not self._open_calls:
                    return
                await self._pause(min(POLL, in_trouble_for or POLL))
                continue
            try:
                claimed = await self.threads.claim.run(self.claimer.claim, free, self._count_bytes_in_use())
            except Error as error:
                log.warning("claim_failed", error=classify(error))
                await self._pause(DATABASE_PAUSE)
                continue
            self._begin(claimed)
            if claimed.more:
                continue
            if until_idle and not self._open_calls and not self._changed.is_set() and claimed.look_again >= POLL:
                return
            await self._pause(claimed.look_again)

    def _count_free_slots(self) -> int:
        """Return how many calls may begin once a claim is committed; none for a while after trouble of this machine."""
        if self.trouble.seconds_until_claims(time.monotonic()):
            return 0
        if self.trouble.limit is not None:
            return self.trouble.limit - self.caller.expected
        soon_free = self._concurrency + self.caller.count_soon_free() - self.caller.expected
        return min(soon_free, self._concurrency + self._unwritten - len(self._open_calls))

    def _count_bytes_in_use(self) -> int:
        """Return the bytes of the emails in progress; their messages stay in memory until their results are written."""
        return sum(call.mail.traits.size for call in self._open_calls.values())

    def _begin(self, result: PassResult) -> None:
        """Begin the calls that follow from a pass."""
        calls = result.calls
        self._done += result.done
        self._open_calls |= {call.mail.id: call for call in calls}
        self._open_calls |= {other.call.mail.id: other.call for other in result.not_made}
        self.caller.expected += len(calls)
        self.claimer.quarantine.note_begun(result.quarantined)
        for call in calls:
            self._tasks.create_task(self._make(call))
        for other in result.not_made:
            self._note_result(other)
        if self._on_progress:
            self._on_progress(self.progress)

    async def _make(self, call: Call) -> None:
        self._note_result(await self.caller.make(call))
        if self._concurrency - self.caller.expected == self._batch or self.trouble.limit is not None:
            self._changed.set()

    def _note_result(self, result: Result) -> None:
        self.claimer.note_returned(result)
        self._results.put_nowait(result)

    async def _keep_recording(self) -> None:
        while True:
            await self._record_all(await self._collect_group())

    async def _keep_retrying(self) -> None:
        """Write the results whose rows were locked, once they are not: apart from others, so that nobody waits for them."""
        while True:
            await asyncio.sleep(DATABASE_PAUSE)
            if self._locked:
                locked, self._locked = self._locked, []
                await self._record_all(await self._set_locked_apart(locked))

    async def _collect_group(self) -> list[Result]:
        """Return results worth one write: those that arrive within 50 ms, fewer if no call is in progress any more."""
        group = [await self._results.get()]
        until = time.monotonic() + GROUP_WAIT
        while len(group) < GROUP_MOST:
            if not self._results.empty():
                group.append(self._results.get_nowait())
                continue
            left = until - time.monotonic()
            if left <= 0 or len(group) >= GROUP_WANT or not self.caller.expected:
                break
            try:
                group.append(await asyncio.wait_for(self._results.get(), left))
            except TimeoutError:
                break
        return group

    async def _record_all(self, group: list[Result]) -> None:
        """Write a group of results, however long the database takes to come back. Set apart what others have locked."""
        while group:
            try:
                recorded = await self.threads.record.run(self.recorder.record, group)
            except Error as error:
                log.warning("record_failed", error=classify(error), results=len(group))
                rest = await self._set_locked_apart(group) if is_locked(error) else group
                if len(rest) == len(group):  # all of it, or whatever else is locked
                    await asyncio.sleep(DATABASE_PAUSE)
                group = rest
                continue
            unwritten = {result.call.mail.id for result in recorded.unwritten}
            self._finish([result for result in group if result.call.mail.id not in unwritten], recorded)
            group = list(recorded.unwritten)
            if group:
                await asyncio.sleep(DATABASE_PAUSE)

    async def _set_locked_apart(self, group: list[Result]) -> list[Result]:
        """Set apart the results whose rows somebody else holds locks of, and return the others."""
        attempts = {result.call.mail.id: result.call.attempt for result in group}
        try:
            free = await self.threads.record.run(claim.find_unlocked, attempts)
        except Error as error:  # not one row, but the table, or the database
            log.warning("locks_not_known", error=classify(error))
            free = set(attempts)
        locked = [result for result in group if result.call.mail.id not in free]
        if locked:
            log.warning("rows_locked", results=len(locked), mail=str(locked[0].call.mail.id))
        self._locked += locked
        return [result for result in group if result.call.mail.id in free]

    def _finish(self, group: Sequence[Result], recorded: PassResult) -> None:
        for result in group:
            self._open_calls.pop(result.call.mail.id, None)
        self._closed += len(group)
        self.claimer.quarantine.note_ended([result.call.mail.id for result in group])
        self._begin(recorded)
        self._changed.set()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    # These run in the claim thread.

    def _describe(self, now: dt.datetime) -> dict[str, object]:
        """Return what this dispatcher does, for its row.

        Leases that end soon are kept there: an SMTP server has minutes to answer the final dot, a result may wait for a
        lock. The email's own row is not written for that: it may be locked, and the heartbeat must not wait for it.
        """
        soon = now + KEPT_AHEAD
        ends = {mail_id: call.mail.state.lease_expires_at for mail_id, call in self._open_calls.copy().items()}
        return {
            "leases_kept": [str(mail_id) for mail_id, end in ends.items() if end is not None and end < soon],
            "queues": self._queues,
            "concurrency": self._concurrency,
            "in_flight": self.caller.in_flight,
            "closed": self._closed,
            "done": self._done,
            "polled_at": self.claimer.polled_at,
            "trouble": self.trouble.shown(time.monotonic())[:200],
        }

    def _leave(self) -> None:
        try:
            self.claimer.undo_unconfirmed()
            self.heartbeat.remove()
        except Error as error:
            log.warning("worker_not_removed", error=classify(error))
