"""When claim passes begin, and what each may claim. Runs in the event loop of one dispatcher."""

import asyncio
import datetime as dt
import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog
from django.db import Error

from mails.dispatch.calls import Caller
from mails.dispatch.claimer import Claimer
from mails.dispatch.database_thread import DatabaseThread
from mails.dispatch.due import claim
from mails.dispatch.due.allotment import Share
from mails.dispatch.local_trouble import LocalTrouble
from mails.dispatch.planner import POLL, PassResult
from mails.dispatch.quarantine import Quarantine
from mails.dispatch.steps.transitions import Call, Result
from mercury.lib.database.database_errors import classify

log = structlog.get_logger(__name__)

DATABASE_PAUSE = 1.0  # seconds before the next try while the database is away


class ClaimLane(NamedTuple):
    """A claimer and its thread: one claim pass after the other."""

    claimer: Claimer
    thread: DatabaseThread


class _Pass(NamedTuple):
    """A claim pass in flight, and what it may claim."""

    lane: ClaimLane
    slots: int
    share: Share
    returned: list[Result]

    @property
    def bytes(self) -> int:
        return claim.MOST_BYTES - self.share.bytes_in_use - self.share.bytes_kept


class ClaimLoop:
    """Begins claim passes while there are free slots and due emails, at most one on each lane.

    While one pass waits for PostgreSQL, another plans. Passes overlap only where the last one left due emails behind.
    """

    def __init__(
        self,
        lanes: Iterable[ClaimLane],
        *,
        caller: Caller,
        trouble: LocalTrouble,
        open_calls: Mapping[uuid.UUID, Call],
        on_claimed: Callable[[PassResult], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        """`open_calls`: by attempt, in progress or with a result that is not yet written. `on_claimed` begins the calls of a pass."""
        self.quarantine = Quarantine()
        self._idle = deque(lanes)
        self._lanes = tuple(self._idle)
        self._caller = caller
        self._trouble = trouble
        self._open_calls = open_calls
        self._on_claimed = on_claimed
        self._is_stopping = is_stopping
        self._concurrency = trouble.concurrency
        self._batch = max(1, self._concurrency // 8)  # slots to wait for, so that a claim is worth its transaction
        self._most = -(-self._concurrency // len(self._lanes))  # slots that one pass may fill
        self._unwritten = self._concurrency // 4  # results that may wait while the slots of their calls are used again
        self._in_flight: list[_Pass] = []
        self._returned: list[Result] = []  # since the last pass began; they may not be written yet
        self._woken = asyncio.Event()
        self._look_at = 0.0  # monotonic clock: when it is worth to look for due emails
        self._has_more = False  # the last pass left due emails behind
        self._is_nothing_due = False

    @property
    def polled_at(self) -> dt.datetime | None:
        """Return when it last looked for due emails; fit for any thread."""
        looks = (lane.claimer.polled_at for lane in self._lanes)
        return max((moment for moment in looks if moment), default=None)

    def look(self) -> None:
        """Look for due emails now: no need to wait for the next poll."""
        self._look_at, self._is_nothing_due = 0.0, False
        self._woken.set()

    def note_returned(self, result: Result) -> None:
        """Note the result of a call, whose slot is free now. Look for due emails once enough slots are."""
        self._returned.append(result)
        if self._concurrency - self._count_expected() == self._batch or self._trouble.limit is not None:
            self.look()

    async def run(self, *, until_idle: bool, deadline: float | None) -> None:
        """Claim until stopped, until nothing is due (`until_idle`), or until the deadline (monotonic clock)."""
        async with asyncio.TaskGroup() as tasks:
            while not self._is_stopping() and (deadline is None or time.monotonic() < deadline):
                if self._can_begin() and (self._has_more or time.monotonic() >= self._look_at):
                    tasks.create_task(self._make_pass(self._begin_pass()))
                elif until_idle and self._is_idle():
                    return
                else:
                    await self.pause(self._count_seconds())

    async def pause(self, seconds: float) -> None:
        """Wait for a change, at most so long. Not by `wait_for`, which forgets a cancellation that a change meets."""
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _can_begin(self) -> bool:
        """Return True if a pass may begin now, as soon as there is something to look for."""
        if self._in_flight and not (self._idle and self._has_more and self._count_bytes_in_use() < claim.MOST_BYTES):
            return False
        return self._count_free_slots() >= min(self._batch, max(1, self._trouble.calls_at_once() // 8))

    def _begin_pass(self) -> _Pass:
        """Reserve what a pass may claim. Where nothing is in progress it may be one email of any size, so others wait."""
        in_use = self._count_bytes_in_use()
        room = max(0, claim.MOST_BYTES - in_use)
        is_claimed = any(other.share.quarantined for other in self._in_flight)
        share = Share(
            bytes_in_use=in_use,
            bytes_kept=room - room // len(self._idle) if in_use else 0,
            quarantined=0 if is_claimed else self.quarantine.count_free(),
            is_alone=self.quarantine.is_empty(),
        )
        slots = min(self._count_free_slots(), self._most)
        begun = _Pass(lane=self._idle.popleft(), slots=slots, share=share, returned=self._returned)
        self._in_flight.append(begun)
        self._returned, self._look_at = [], math.inf
        return begun

    async def _make_pass(self, begun: _Pass) -> None:
        """Make a claim pass and begin its calls. Where the database failed, the same lane undoes first what it left."""
        claimed: PassResult | None = None
        claimer, thread = begun.lane
        try:
            claimed = await thread.run(claimer.claim, begun.slots, begun.share, begun.returned)
        except Error as error:
            log.warning("claim_failed", error=classify(error))
        self._in_flight.remove(begun)
        if claimed is None:
            self._idle.appendleft(begun.lane)
            self._has_more, self._is_nothing_due, self._look_at = False, False, time.monotonic() + DATABASE_PAUSE
        else:
            self._idle.append(begun.lane)
            self._note_claimed(claimed)
            self._on_claimed(claimed)
        self._woken.set()

    def _note_claimed(self, claimed: PassResult) -> None:
        """Note when to look again: as soon as the other pass, or a change since this one began, asks for it."""
        self._has_more = claimed.more
        is_nothing_due = not claimed.more and claimed.look_again >= POLL
        self._is_nothing_due = is_nothing_due and (self._is_nothing_due or self._look_at == math.inf)
        self._look_at = min(self._look_at, 0.0 if claimed.more else time.monotonic() + claimed.look_again)

    def _is_idle(self) -> bool:
        """Return True if nothing is in progress, and nothing is due or trouble of this machine keeps it from claiming."""
        if self._in_flight or self._open_calls:
            return False
        return self._is_nothing_due or self._trouble.seconds_until_claims(time.monotonic()) > 0

    def _count_seconds(self) -> float:
        """Return how long to wait for a change."""
        now = time.monotonic()
        if in_trouble_for := self._trouble.seconds_until_claims(now):
            return min(POLL, in_trouble_for)
        return min(POLL, max(0.0, self._look_at - now)) if self._can_begin() else POLL

    def _count_bytes_in_use(self) -> int:
        """Return the bytes of the emails in progress; their messages stay in memory until their results are written."""
        in_progress = sum(call.mail.traits.size for call in self._open_calls.values())
        return in_progress + sum(begun.bytes for begun in self._in_flight)

    def _count_expected(self) -> int:
        """Return the slots that are in use, or will be."""
        return self._caller.expected + sum(begun.slots for begun in self._in_flight)

    def _count_free_slots(self) -> int:
        """Return how many calls may begin once a claim is committed; none for a while after trouble of this machine."""
        if self._trouble.seconds_until_claims(time.monotonic()):
            return 0
        expected = self._count_expected()
        if self._trouble.limit is not None:
            return self._trouble.limit - expected
        soon_free = self._concurrency + self._caller.count_soon_free() - expected
        unwritten = len(self._open_calls) + expected - self._caller.expected
        return min(soon_free, self._concurrency + self._unwritten - unwritten)
