"""When claim passes begin, and how many slots each may fill. Runs in the event loop of one dispatcher."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog
from django.db import Error

from mails.dispatch.calls import Caller
from mails.dispatch.claimer import Claimer
from mails.dispatch.database_thread import DatabaseThread
from mails.dispatch.local_trouble import LocalTrouble
from mails.dispatch.planner import POLL, PassResult
from mails.dispatch.steps.transitions import Call, Result
from mercury.lib.database.database_errors import classify
from providers.outcomes import Accepted

log = structlog.get_logger(__name__)

DATABASE_PAUSE = 1.0  # seconds before the next try while the database is away


class ClaimLoop:
    """Begins claim passes while there are free slots and due emails. The claimer's methods run in the claim thread."""

    def __init__(
        self,
        claimer: Claimer,
        thread: DatabaseThread,
        *,
        caller: Caller,
        trouble: LocalTrouble,
        open_calls: Mapping[uuid.UUID, Call],
        on_claimed: Callable[[PassResult], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        """`open_calls`: by attempt, in progress or with a result that is not yet written. `on_claimed` begins the calls of a pass."""
        self.changed = asyncio.Event()  # set when it may be worth to claim: no need to wait for the next poll
        self._claimer = claimer
        self._thread = thread
        self._caller = caller
        self._trouble = trouble
        self._open_calls = open_calls
        self._on_claimed = on_claimed
        self._is_stopping = is_stopping
        self._concurrency = trouble.concurrency
        self._batch = max(1, self._concurrency // 8)  # slots to wait for, so that a claim is worth its transaction
        self._failed: set[uuid.UUID] = set()  # attempts that were not accepted, and whose result is not written yet
        self._reserved = 0  # slots that claim passes in flight may fill

    async def run(self, *, until_idle: bool, deadline: float | None) -> None:
        """Claim until stopped, until nothing is due (`until_idle`), or until the deadline (monotonic clock)."""
        while not self._is_stopping() and (deadline is None or time.monotonic() < deadline):
            self.changed.clear()
            free = self._count_free_slots()
            if free < min(self._batch, max(1, self._trouble.calls_at_once() // 8)):
                in_trouble_for = self._trouble.seconds_until_claims(time.monotonic())
                if until_idle and in_trouble_for and not self._open_calls:
                    return
                await self.pause(min(POLL, in_trouble_for or POLL))
                continue
            claimed = await self._claim(free)
            if claimed is None:
                await self.pause(DATABASE_PAUSE)
                continue
            if claimed.more:
                continue
            if until_idle and not self._open_calls and not self.changed.is_set() and claimed.look_again >= POLL:
                return
            await self.pause(claimed.look_again)

    async def pause(self, seconds: float) -> None:
        """Wait for a change, at most so long. Not by `wait_for`, which forgets a cancellation that a change meets."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()

    def wake(self) -> None:
        """Look for due emails now: some that no pass knows of may have arrived."""
        self._claimer.note_woken()
        self.changed.set()

    def note_returned(self, result: Result) -> None:
        """Note a call that came back, and look for due emails once enough did."""
        if not isinstance(result.outcome, Accepted):
            self._failed.add(result.call.attempt.id)
        free = self._concurrency - self._caller.expected
        if (free and free % self._batch == 0) or self._trouble.limit is not None:
            self.changed.set()

    def note_written(self, results: Sequence[Result]) -> None:
        """Note results that were written: what they tell of accounts is known to the next pass, which may begin."""
        self._failed.difference_update(result.call.attempt.id for result in results)
        self.changed.set()

    async def _claim(self, free: int) -> PassResult | None:
        """Make one claim pass and begin its calls; None if the database failed. Others may be in flight meanwhile."""
        self._reserved += free
        try:
            slots = self._concurrency if self._trouble.limit is None else self._trouble.limit
            claimed = await self._thread.run(self._claimer.claim, free, self._count_bytes_in_use(), slots)
        except Error as error:
            log.warning("claim_failed", error=classify(error))
            return None
        finally:
            self._reserved -= free
        self._on_claimed(claimed)
        return claimed

    def _count_bytes_in_use(self) -> int:
        """Return the bytes of the emails in progress; their messages stay in memory until their results are written."""
        return sum(call.mail.traits.size for call in self._open_calls.values())

    def _count_free_slots(self) -> int:
        """Return how many calls may begin once a claim is committed; none for a while after trouble of this machine."""
        if self._trouble.seconds_until_claims(time.monotonic()):
            return 0
        expected = self._caller.expected + self._reserved
        if self._trouble.limit is not None:
            return self._trouble.limit - expected
        soon_free = self._concurrency + self._caller.count_soon_free() - expected
        # Results may wait while the slots of their calls are used again: fewer where one tells of an account in trouble.
        may_wait = self._concurrency // 4 if self._failed else self._concurrency
        unwritten = len(self._open_calls) + self._reserved
        return min(soon_free, self._concurrency + may_wait - unwritten)
