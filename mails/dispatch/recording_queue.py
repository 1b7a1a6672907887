"""The results of one dispatcher's calls on their way into the database: in groups, however long the database is away.

Results whose rows somebody else has locked go apart from the others, so that nobody waits for them.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence

import structlog
from django.db import Error

from mails.dispatch.database_thread import DatabaseThread
from mails.dispatch.due import claim
from mails.dispatch.planner import PassResult
from mails.dispatch.recorder import Recorder
from mails.dispatch.steps.transitions import Result
from mercury.lib.database.database_errors import classify, is_locked

log = structlog.get_logger(__name__)

GROUP_WAIT = 0.05  # seconds that the first result of a group waits for others
GROUP_WANT = 32  # results that are worth a write at once
GROUP_MOST = 256
PAUSE = 1.0  # seconds before the next try while the database is away, or a row is locked


class RecordingQueue:
    """Collects results and has them recorded. Its methods run in the event loop, the recorder's in the record thread."""

    def __init__(
        self,
        recorder: Recorder,
        thread: DatabaseThread,
        *,
        expects_more: Callable[[], bool],
        on_recorded: Callable[[Sequence[Result], PassResult], None],
    ) -> None:
        """`expects_more`: whether calls are in progress. `on_recorded` gets the results that a record pass wrote."""
        self._recorder = recorder
        self._thread = thread
        self._expects_more = expects_more
        self._on_recorded = on_recorded
        self._results: asyncio.Queue[Result] = asyncio.Queue()
        self._locked: list[Result] = []  # results whose rows others have locked

    def put(self, result: Result) -> None:
        """Add the result of a call that came back."""
        self._results.put_nowait(result)

    async def keep_recording(self) -> None:
        """Record all results, a group at a time, until cancelled."""
        while True:
            for group in _separate(await self._collect_group()):
                await self._record_all(group)

    async def keep_retrying(self) -> None:
        """Record what could not be recorded before, until cancelled: locked rows once they are free, and late results."""
        while True:
            await asyncio.sleep(PAUSE)
            if self._locked:
                locked, self._locked = self._locked, []
                for group in _separate(locked):
                    await self._record_all(await self._set_locked_apart(group))
            if self._recorder.has_left():
                await self._thread.run(self._recorder.try_to_record_late)

    async def _collect_group(self) -> list[Result]:
        """Return results worth one write: those that arrive within 50 ms, fewer if no call is in progress any more."""
        group = [await self._results.get()]
        until = time.monotonic() + GROUP_WAIT
        while len(group) < GROUP_MOST:
            if not self._results.empty():
                group.append(self._results.get_nowait())
                continue
            left = until - time.monotonic()
            if left <= 0 or len(group) >= GROUP_WANT or not self._expects_more():
                break
            try:
                async with asyncio.timeout(left):  # not `wait_for`, which forgets a cancellation that a result meets
                    group.append(await self._results.get())
            except TimeoutError:
                break
        return group

    async def _record_all(self, group: list[Result]) -> None:
        """Record a group of results, however long the database takes to come back. Set apart what others have locked."""
        while group:
            try:
                recorded = await self._thread.run(self._recorder.record, group)
            except Error as error:
                log.warning("record_failed", error=classify(error), results=len(group))
                rest = await self._set_locked_apart(group) if is_locked(error) else group
                if len(rest) == len(group):  # all of it, or whatever else is locked
                    await asyncio.sleep(PAUSE)
                group = rest
                continue
            unwritten = {result.call.mail.id for result in recorded.unwritten}
            written = [result for result in group if result.call.mail.id not in unwritten] if unwritten else group
            self._on_recorded(written, recorded)
            group = list(recorded.unwritten)
            if group:
                await asyncio.sleep(PAUSE)

    async def _set_locked_apart(self, group: list[Result]) -> list[Result]:
        """Set apart the results whose rows somebody else holds locks of, and return the others."""
        attempts = {result.call.mail.id: result.call.attempt for result in group}
        try:
            free = await self._thread.run(claim.find_unlocked, attempts)
        except Error as error:  # not one row, but the table, or the database
            log.warning("locks_not_known", error=classify(error))
            free = set(attempts)
        locked = [result for result in group if result.call.mail.id not in free]
        if locked:
            log.warning("rows_locked", results=len(locked), mail=str(locked[0].call.mail.id))
        self._locked += locked
        return [result for result in group if result.call.mail.id in free]


def _separate(results: Sequence[Result]) -> list[list[Result]]:
    """Return the results in groups that have each email once: one may have two calls, if its lease was lost in between."""
    groups: list[dict[uuid.UUID, Result]] = []
    for result in results:
        group = next((group for group in groups if result.call.mail.id not in group), None)
        if group is None:
            groups.append(group := {})
        group[result.call.mail.id] = result
    return [list(group.values()) for group in groups]
