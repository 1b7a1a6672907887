"""The heartbeat: it tells others that this process lives, and this process whether it can still be sure of its leases."""

import datetime as dt
import time
from collections.abc import Callable, Iterable

from mails.dispatch.dispatcher_settings import DispatcherSettings
from mails.dispatch.due import claim
from mails.dispatch.steps.transitions import Call
from mails.models import Worker
from mails.states import WORKER_SILENCE
from mercury.lib.database import database_clock

HEARTBEAT = 2.5  # seconds between two heartbeats, each a chance to recover what dead workers left
HEARTBEAT_TRUST = 7.0  # seconds; after WORKER_SILENCE without one, others recover what this process has claimed

# A lease that ends sooner is kept by the heartbeat; more than one of these may fail.
KEPT_AHEAD = dt.timedelta(seconds=15)


def list_kept_leases(open_calls: Iterable[Call], now: dt.datetime) -> list[str]:
    """Return the ids of the emails whose lease ends soon although their call, or its record, has not ended.

    The worker's row keeps these leases: an SMTP server has minutes to answer the final dot, a result may wait for a lock.
    The email's own row is not written for that: it may be locked, and the heartbeat must not wait for it.
    """
    soon = now + KEPT_AHEAD
    ends = {call.mail.id: call.mail.state.lease_expires_at for call in open_calls}
    return [str(mail_id) for mail_id, end in ends.items() if end is not None and end < soon]


class Heartbeat:
    """The heartbeat of one dispatcher. Methods run in the heartbeat thread; `is_trusted` and those about judging anywhere."""

    def __init__(self, settings: DispatcherSettings, *, describe: Callable[[dt.datetime], dict[str, object]]) -> None:
        """`describe`: the other columns of the worker's row."""
        self._settings = settings
        self._describe = describe
        self._trusted_until = 0.0  # monotonic clock: calls may begin until then without a look at the lease
        self._judges_from = 0.0  # monotonic clock

    def beat(self) -> None:
        """Beat once. After a gap, others' heartbeats are stale for the same reason: judge nobody until they could beat."""
        if not self.is_trusted():
            # A process that begins lets others beat once more: the clock may have jumped before its first look.
            grace = WORKER_SILENCE.total_seconds() if self._trusted_until else 2 * HEARTBEAT
            self._judges_from = max(self._judges_from, time.monotonic() + grace)
        began = time.monotonic()
        self.write()
        if time.monotonic() - began > HEARTBEAT:  # the database stood still: nobody else could beat either
            self.judge_nobody_until_all_could_beat()

    def confirm_lease(self, call: Call) -> bool:
        """Return True if this process can be sure that it holds the email until the call's end."""
        if not self.is_trusted():
            self.beat()
        until = database_clock.now() + dt.timedelta(seconds=self._settings.deadline)
        return claim.is_leased(call.mail.id, call.attempt.lease, until=until)

    def write(self) -> None:
        """Write the worker's row."""
        asked = time.monotonic()
        database_clock.look()
        now = database_clock.now()
        described = {"seen_at": now} | self._describe(now)
        Worker.objects.update_or_create(
            id=self._settings.worker, defaults=described, create_defaults={"started_at": now} | described
        )
        self._trusted_until = asked + HEARTBEAT_TRUST

    def remove(self) -> None:
        """Remove the worker's row: it has ended, and holds nothing."""
        Worker.objects.filter(id=self._settings.worker).delete()

    def is_trusted(self) -> bool:
        """Return True if others cannot consider this process dead yet, so that its leases hold."""
        return time.monotonic() <= self._trusted_until

    def may_judge_others(self) -> bool:
        """Return True if a worker without a fresh heartbeat may be considered dead.

        This one must have beaten itself, and all others must have had the time to do so since the database, or the
        clock, last failed.
        """
        return self.is_trusted() and time.monotonic() >= self._judges_from

    def judge_nobody_until_all_could_beat(self) -> None:
        """Judge nobody for a while: the database failed or stood still, so others' heartbeats are stale for that reason."""
        self._judges_from = time.monotonic() + WORKER_SILENCE.total_seconds()
