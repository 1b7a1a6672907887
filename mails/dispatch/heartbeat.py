"""The heartbeat: it tells others that this process lives, and this process whether it can still be sure of its leases."""

import datetime as dt
import time
from collections.abc import Callable

import structlog
from django.db import Error

from mails.dispatch import claim
from mails.dispatch.database_thread import Threads
from mails.dispatch.transitions import Call, DispatcherSettings
from mails.models import Worker
from mails.states import WORKER_SILENCE
from mercury.lib.database import database_clock
from mercury.lib.database.database_errors import classify

log = structlog.get_logger(__name__)

HEARTBEAT = 2.5  # seconds between two heartbeats, each a chance to recover what dead workers left
HEARTBEAT_TRUST = 7.0  # seconds; after 10 without one (WORKER_SILENCE), others recover what this process has claimed


class Heartbeat:
    """The heartbeat of one dispatcher. `write`, `remove` and `_is_leased` run in the claim thread, the rest in the event loop."""

    def __init__(
        self,
        threads: Threads,
        terms: DispatcherSettings,
        *,
        describe: Callable[[dt.datetime], dict[str, object]],
        on_heartbeat: Callable[[str], None] | None,
    ) -> None:
        """`describe`: the other columns of the worker's row.

        `on_heartbeat` is called after each heartbeat after which this process may judge others; it must return at once.
        """
        self._threads = threads
        self._terms = terms
        self._describe = describe
        self._on_heartbeat = on_heartbeat
        self._trusted_until = 0.0  # monotonic clock: calls may begin until then without a look at the lease
        self._judges_from = 0.0  # monotonic clock

    async def beat(self) -> bool:
        """Beat once. After a gap, others' heartbeats are stale for the same reason: judge nobody until they could beat."""
        if not self._is_trusted():
            # A process that begins lets others beat once more: the clock may have jumped before its first look.
            grace = WORKER_SILENCE.total_seconds() if self._trusted_until else 2 * HEARTBEAT
            self._judges_from = time.monotonic() + grace
        began = time.monotonic()
        try:
            await self._threads.claim.run(self.write)
        except Error as error:
            log.warning("heartbeat_failed", error=classify(error))
            self.judge_nobody_until_all_could_beat()
            return False
        if time.monotonic() - began > HEARTBEAT:  # the database stood still: nobody else could beat either
            self.judge_nobody_until_all_could_beat()
        if self._on_heartbeat is not None and self.may_judge_others():
            self._on_heartbeat(self._terms.worker)
        return True

    async def confirm_lease(self, call: Call) -> bool:
        """Return True if this process can be sure that it holds the email until the call's end."""
        if self._is_trusted():
            return True
        if not await self.beat():
            return False
        try:
            return await self._threads.claim.run(self._is_leased, call)
        except Error as error:
            log.warning("lease_not_confirmed", error=classify(error))
            return False

    def write(self) -> None:
        """Write the worker's row."""
        asked = time.monotonic()
        database_clock.look()
        now = database_clock.now()
        described = {"seen_at": now} | self._describe(now)
        Worker.objects.update_or_create(
            id=self._terms.worker, defaults=described, create_defaults={"started_at": now} | described
        )
        self._trusted_until = asked + HEARTBEAT_TRUST

    def remove(self) -> None:
        """Remove the worker's row: it has ended, and holds nothing."""
        Worker.objects.filter(id=self._terms.worker).delete()

    def _is_trusted(self) -> bool:
        return time.monotonic() <= self._trusted_until

    def _is_leased(self, call: Call) -> bool:
        until = database_clock.now() + dt.timedelta(seconds=self._terms.deadline)
        return claim.is_leased(call.mail.id, call.attempt.lease, until=until)

    def may_judge_others(self) -> bool:
        """Return True if a worker without a fresh heartbeat may be considered dead. Fit for any thread.

        It must have beaten itself, and all others must have had the time to do so since the database, or the clock,
        last failed.
        """
        return self._is_trusted() and time.monotonic() >= self._judges_from

    def judge_nobody_until_all_could_beat(self) -> None:
        """Judge nobody for a while: the database failed or stood still, so others' heartbeats are stale for that reason."""
        self._judges_from = time.monotonic() + WORKER_SILENCE.total_seconds()
