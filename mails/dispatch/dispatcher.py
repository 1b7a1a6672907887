"""The dispatcher: claims due emails of its queues, hands them to providers, and records the results.

A hub. One event loop makes the calls; the database work is done in groups, in the threads of `Claimer`, `Recorder` and
`Heartbeat`, each with a connection of its own. No transaction is open during a call. The spokes never call each other.
"""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import Error

from mails import pauses
from mails.dispatch import heartbeat
from mails.dispatch.accounts.account_pool import AccountPool
from mails.dispatch.attachments import AttachmentLoader
from mails.dispatch.calls import Caller
from mails.dispatch.claim_loop import DATABASE_PAUSE, ClaimLoop
from mails.dispatch.claimer import Claimer
from mails.dispatch.database_thread import Threads
from mails.dispatch.dispatcher_settings import read_settings
from mails.dispatch.heartbeat import Heartbeat
from mails.dispatch.local_trouble import LocalTrouble
from mails.dispatch.planner import POLL, PassResult
from mails.dispatch.recorder import Recorder
from mails.dispatch.recording_queue import RecordingQueue
from mails.dispatch.steps.transitions import Call, Result
from mercury.lib.database.database_errors import classify
from providers.transports.sender import Sender

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a dispatcher, without the emails that wait: a count of the due ones costs a query."""

    in_flight: int
    closed: int  # calls that came back so far
    done: int  # emails that a provider accepted so far


class Dispatcher:
    """One dispatcher of some queues. `run` may be called once; `wake` and `stop` may be called from any thread.

    Its methods run in the event loop; those of `claimer`, `recorder` and `heartbeat` in the thread of that name.
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
        group of results is written. `on_heartbeat` is called in the event loop after each heartbeat after which this
        process may judge others: periodic tasks begin then, in threads of their own. `worker`: the name of its row.
        """
        self.settings = read_settings(worker)
        self.worker = self.settings.worker
        self._queues = list(queues)
        self._concurrency = concurrency or settings.MERCURY_MAX_CONCURRENCY
        self._on_progress = on_progress
        self._on_heartbeat = on_heartbeat
        self._stopping = False  # no Event: a signal's handler must not wait for the lock of one
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open_calls: dict[uuid.UUID, Call] = {}  # by attempt: one email has two if its lease was lost
        self._closed = self._done = 0
        self.threads = Threads.start()
        self.pool = AccountPool(concurrency=self._concurrency, probe_lease=self.settings.lease)
        self.trouble = LocalTrouble(self._concurrency)
        self.claimer = Claimer(self._queues, self.pool, self.settings)
        self.recorder = Recorder(self.pool, self.settings, is_stopping=self._is_stopping)
        self.heartbeat = Heartbeat(self.settings, describe=self._describe)
        self.caller = Caller(
            self._concurrency,
            trouble=self.trouble,
            confirm_lease=self._confirm_lease,
            is_stopping=self._is_stopping,
            attachments=AttachmentLoader(seconds=self.settings.deadline),
        )
        self.results = RecordingQueue(
            self.recorder,
            self.threads.record,
            expects_more=lambda: self.caller.expected > 0,
            on_recorded=self._note_recorded,
        )
        self.claims = ClaimLoop(
            self.claimer,
            self.threads.claim,
            caller=self.caller,
            trouble=self.trouble,
            open_calls=self._open_calls,
            on_claimed=self._begin,
            is_stopping=self._is_stopping,
        )

    def wake(self) -> None:
        """Look for due emails now."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended: nobody is left to wake
                self._loop.call_soon_threadsafe(self.claims.wake)

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
            deadline=self.settings.deadline,
            connect_timeout=self.settings.connect_timeout,
            concurrency=self._concurrency,
            final_reply=self.settings.final_reply,
        ) as sender:
            self.caller.sender = sender
            try:
                async with asyncio.TaskGroup() as self._tasks:  # one that fails ends the others, and the run
                    endless = (self.results.keep_recording(), self.results.keep_retrying(), self._keep_beating())
                    tasks = [self._tasks.create_task(work) for work in endless]
                    await self._start()
                    await self.claims.run(until_idle=until_idle, deadline=deadline)
                    sender.end_calls_within(self.settings.deadline)
                    while self._open_calls:
                        self.claims.changed.clear()
                        await self.claims.pause(POLL)
                    for task in tasks:
                        task.cancel()
            finally:
                await self._leave()
                self.caller.close()
                await self.threads.end()
        return self._done

    async def _leave(self) -> None:
        await self.threads.record.run(self.recorder.try_to_record_late)
        try:
            await self.threads.claim.run(self.claimer.undo_unconfirmed)
            await self.threads.heartbeat.run(self.heartbeat.remove)
        except Error as error:
            log.warning("worker_not_removed", error=classify(error))

    @property
    def progress(self) -> Progress:
        """Return its progress; fit for any thread."""
        return Progress(in_flight=self.caller.in_flight, closed=self._closed, done=self._done)

    async def _start(self) -> None:
        """Claim nothing before the heartbeat's row exists: without it, others would recover its emails.

        Nor before sending is paused, where `MERCURY_START_PAUSED` asks for that.
        """
        while not self._stopping:
            try:
                await self.threads.claim.run(pauses.pause_at_start)
            except Error as error:
                log.warning("start_failed", error=classify(error))
                self.heartbeat.judge_nobody_until_all_could_beat()
            else:
                if await self._beat():
                    return
            await self.claims.pause(DATABASE_PAUSE)

    async def _keep_beating(self) -> None:
        """Beat from the event loop, so that a process whose loop hangs is considered dead."""
        while True:
            await asyncio.sleep(heartbeat.HEARTBEAT)
            await self._beat()

    async def _beat(self) -> bool:
        try:
            await self.threads.heartbeat.run(self.heartbeat.beat)
        except Error as error:
            log.warning("heartbeat_failed", error=classify(error))
            self.heartbeat.judge_nobody_until_all_could_beat()
            return False
        # A late result may decide about an email that would be judged.
        if self._on_heartbeat and self.heartbeat.may_judge_others() and not self.recorder.has_late():
            self._on_heartbeat(self.worker)
        return True

    async def _confirm_lease(self, call: Call) -> bool:
        """Return True if this process can be sure that it holds the email until the call's end."""
        if self.heartbeat.is_trusted():
            return True
        try:
            return await self.threads.heartbeat.run(self.heartbeat.confirm_lease, call)
        except Error as error:
            log.warning("lease_not_confirmed", error=classify(error))
            self.heartbeat.judge_nobody_until_all_could_beat()
            return False

    def _begin(self, result: PassResult) -> None:
        """Begin the calls that follow from a pass."""
        self._done += result.done
        open_calls = [*result.calls, *(other.call for other in result.not_made)]
        self._open_calls.update((call.attempt.id, call) for call in open_calls)
        self.caller.expected += len(result.calls)
        self.claimer.quarantine.note_begun(result.quarantined)
        for call in result.calls:
            self._tasks.create_task(self._make(call))
        for other in result.not_made:
            self._note_result(other)
        if self._on_progress:
            self._on_progress(self.progress)

    async def _make(self, call: Call) -> None:
        self._note_result(await self.caller.make(call))

    def _note_result(self, result: Result) -> None:
        self.claimer.note_returned(result)
        self.claims.note_returned(result)
        self.results.put(result)

    def _note_recorded(self, results: Sequence[Result], recorded: PassResult) -> None:
        for result in results:
            self._open_calls.pop(result.call.attempt.id, None)
        self._closed += len(results)
        self.claimer.quarantine.note_ended([result.call.mail.id for result in results])
        self._begin(recorded)
        self.claims.note_written(results)

    def _describe(self, now: dt.datetime) -> dict[str, object]:
        """Return the columns of its row. Runs in the heartbeat thread."""
        return {
            "leases_kept": heartbeat.list_kept_leases(self._open_calls.copy().values(), now),
            "queues": self._queues,
            "concurrency": self._concurrency,
            "in_flight": self.caller.in_flight,
            "closed": self._closed,
            "done": self._done,
            "polled_at": self.claimer.polled_at,
            "trouble": self.trouble.shown(time.monotonic())[:200],
        }
