"""How the house stands now: what waits, who works, which accounts take mail, and what it runs on.

Read by partial indexes and short bounded counts, so that it costs the same however many mails there are.
"""

import datetime as dt
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q

from mails import pauses
from mails.dispatch import wake
from mails.models import Mail, Pause, Worker
from mails.queues import QueueName
from mails.reporting import recent_failures, rollups, statistics, systemic_refusals
from mails.reporting.recent_failures import RECENT, RecentFailures
from mails.reporting.statistics import AccountStatistics
from mails.states import DUE, LEASED, WORKER_SILENCE, HoldReason, Level, Status
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.health.breaker import Snapshot, describe_breaker
from providers.health.refusal_runs import Run
from providers.models import BreakerChange, BreakerMode, BreakerState
from providers.sandbox.failure_modes import SimulatedFailure

COUNTED_AT_MOST = 100_000  # mails; a longer queue is told as "at least"
CHANGES_READ = 200  # of all accounts
LATELY = dt.timedelta(hours=24)  # so that what went wrong at night is seen in the morning


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """What waits in a queue. Counts stop at 100,000."""

    queue: str
    due: int  # mails that could be sent now
    oldest: float | None  # seconds that the oldest of them has been due
    later: int  # mails in back-off
    next_at: dt.datetime | None  # when the first of these is due …
    last_at: dt.datetime | None  # … and the last
    paused_at: dt.datetime | None = None  # since when the queue is paused; None while it is running
    paused_by: str = ""
    paused_note: str = ""  # why


@dataclass(frozen=True, slots=True)
class HeldCounts:
    """Held mails by reason. Counts stop at 100,000."""

    unknown: int  # their outcome is not known
    poison: int
    operator: int  # held by a person, or for any other reason

    @property
    def total(self) -> int:
        """All of them."""
        return self.unknown + self.poison + self.operator


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A process that dispatches, by its last heartbeat."""

    id: str
    alive: bool  # heard of within 15 s
    queues: Sequence[str]
    concurrency: int
    in_flight: int
    closed: int
    done: int
    started_at: dt.datetime
    seen_at: dt.datetime
    polled_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account as it stands now."""

    id: int
    name: str
    kind: str
    enabled: bool
    configured: bool
    weight: int
    rate: float | None  # calls a second, at most
    state: BreakerState
    mode: BreakerMode
    words: str  # what the breaker does, such as "probe in 26 s"
    open_until: dt.datetime | None
    limited_until: dt.datetime | None
    last_failure: str
    last_failure_at: dt.datetime | None
    failure_mode: str  # how a sandbox is told to misbehave now, such as "refuse=503"; mostly empty …
    failure_mode_until: dt.datetime | None  # … and until when
    since: dt.datetime | None = None  # when the breaker opened or was forced, or the account was disabled
    by: str = ""  # who did that
    changed_at: dt.datetime | None = None  # when its settings or its breaker last changed
    refuses: bool = False  # every email, so that its refusals count as its own; see `providers.refusals`
    refused_since: dt.datetime | None = None  # when that began, now or the last time
    refusal_reason: str = ""  # its words
    refused_emails: int = 0  # discarded before that was noticed, and not sent again; at most 10,000

    @property
    def effective(self) -> BreakerState:
        """What the breaker lets through, whoever decides."""
        forced = {BreakerMode.OPEN: BreakerState.OPEN, BreakerMode.CLOSED: BreakerState.CLOSED}
        return forced.get(self.mode, self.state)


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """The house at one moment."""

    at: dt.datetime
    waiting: Sequence[QueueStatus]
    claimed: int  # mails that a worker has at the moment
    sending_paused_by: str | None  # who paused all sending; None while it is not paused
    oldest_unsent: float | None  # seconds since the oldest mail came in that is due or in back-off
    held: HeldCounts
    expired: int  # mails whose time was over in the last 24 hours, and that nobody has sent anew; at most 100,000
    workers: Sequence[WorkerStatus]
    accounts: Sequence[AccountStatus]
    recent: Sequence[AccountStatistics]  # of the last 15 minutes
    redis: str  # see `wake.check_redis`
    disk_free: float  # share of the disk that holds the data folder
    disk_free_bytes: int
    counted_until: dt.datetime | None  # arrivals are counted until then
    sending_paused_at: dt.datetime | None = None
    expired_since: dt.datetime | None = None  # when the first of the expired emails expired
    failures: RecentFailures = recent_failures.NO_RECENT_FAILURES

    @property
    def alive(self) -> list[WorkerStatus]:
        """The workers that are heard of."""
        return [one for one in self.workers if one.alive]

    @property
    def poll_age(self) -> float | None:
        """Seconds since a living worker last looked for due mails; None if none ever did."""
        return compute_poll_age(self.alive, self.at)


def read_system_status(now: dt.datetime | None = None) -> SystemStatus:
    """The situation now. Some twenty short queries, a question to Redis of at most 0.25 s, and one to the disk."""
    now = now or database_clock.now()
    disk = _measure_disk()
    paused = pauses.load_active()
    recent = statistics.load_statistics(now - RECENT, now, Level.MINUTE)
    changes, gone = load_breaker_changes(), count_expired(now)
    candidates = registry.load_candidates()
    return SystemStatus(
        at=now,
        waiting=[read_queue_status(queue, now, paused.queues.get(queue)) for queue in QueueName.values],
        claimed=Mail.objects.filter(status__in=LEASED).count(),
        sending_paused_by=paused.all_sending.who if paused.all_sending else None,
        oldest_unsent=_measure_oldest_unsent(now),
        held=count_held(),
        expired=gone["count"],
        workers=list_workers(now),
        accounts=[
            _add_refusals(build_account_status(one, now, changes.get(one.id, ())), one.refusals, now)
            for one in candidates
        ],
        recent=statistics.summarize_accounts(recent),
        redis=wake.check_redis(),
        disk_free=disk.free / disk.total,
        disk_free_bytes=disk.free,
        counted_until=rollups.read_counted_until(),
        sending_paused_at=paused.all_sending.paused_at if paused.all_sending else None,
        expired_since=gone["first"],
        failures=recent_failures.read_recent_failures(now, recent),
    )


def read_queue_status(queue: str, now: dt.datetime, pause: Pause | None = None) -> QueueStatus:
    """What waits in a queue, on which this pause stands: two questions of the index `mail_due`."""
    mails = Mail.objects.filter(queue=queue, status__in=DUE).order_by("next_attempt_at").values("next_attempt_at")
    due = mails.filter(next_attempt_at__lte=now)[:COUNTED_AT_MOST].aggregate(
        count=Count("next_attempt_at"), first=Min("next_attempt_at")
    )
    later = mails.filter(next_attempt_at__gt=now)[:COUNTED_AT_MOST].aggregate(
        count=Count("next_attempt_at"), first=Min("next_attempt_at"), last=Max("next_attempt_at")
    )
    oldest = (now - due["first"]).total_seconds() if due["first"] else None
    found = QueueStatus(queue, due["count"], oldest, later["count"], later["first"], later["last"])
    if pause is None:
        return found
    return replace(found, paused_at=pause.paused_at, paused_by=pause.who, paused_note=pause.note)


def count_held() -> HeldCounts:
    """Held mails by reason."""
    mails = Mail.objects.filter(status=Status.HELD).order_by("-id").values("reason_code")[:COUNTED_AT_MOST]
    counts = mails.aggregate(
        total=Count("reason_code"),
        unknown=Count("reason_code", filter=Q(reason_code=HoldReason.UNKNOWN)),
        poison=Count("reason_code", filter=Q(reason_code=HoldReason.POISON)),
    )
    return HeldCounts(counts["unknown"], counts["poison"], counts["total"] - counts["unknown"] - counts["poison"])


def count_expired(now: dt.datetime) -> dict[str, Any]:
    """Return how many emails expired in the last 24 hours and are still so, and when the first did: by `mail_expired`."""
    lately = Mail.objects.filter(status=Status.EXPIRED, finished_at__gte=now - LATELY)[:COUNTED_AT_MOST]
    return lately.aggregate(count=Count("finished_at"), first=Min("finished_at"))


def list_workers(now: dt.datetime) -> list[WorkerStatus]:
    """The workers of the last hour, those that live first."""
    rows = Worker.objects.filter(seen_at__gte=now - dt.timedelta(hours=1)).order_by("-seen_at")[:200]
    found = [
        WorkerStatus(
            id=row.id,
            alive=row.seen_at >= now - WORKER_SILENCE,
            queues=row.queues,
            concurrency=row.concurrency,
            in_flight=row.in_flight,
            closed=row.closed,
            done=row.done,
            started_at=row.started_at,
            seen_at=row.seen_at,
            polled_at=row.polled_at,
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (not one.alive, one.id))


def compute_poll_age(alive: Sequence[WorkerStatus], now: dt.datetime) -> float | None:
    """Seconds since one of these workers last looked for due mails; None if none ever did."""
    looks = [one.polled_at for one in alive if one.polled_at]
    return max(0.0, (now - max(looks)).total_seconds()) if looks else None


def load_breaker_changes() -> dict[int, list[BreakerChange]]:
    """Return the last changes of each account, newest first. One query of the last 200."""
    found: dict[int, list[BreakerChange]] = defaultdict(list)
    for change in BreakerChange.objects.order_by("-id")[:CHANGES_READ]:
        if change.account_id is not None:  # its account still exists
            found[change.account_id].append(change)
    return found


def build_account_status(
    candidate: Candidate, now: dt.datetime, changes: Sequence[BreakerChange] = ()
) -> AccountStatus:
    """An account as it stands. `changes`: its last ones, newest first."""
    began = _find_decisive_change(candidate, changes)
    breaker: Snapshot = candidate.breaker
    simulated: SimulatedFailure | None = candidate.config.options.get("failure_mode")
    active = simulated if simulated is not None and now < simulated.until else None
    return AccountStatus(
        id=candidate.id,
        name=candidate.config.name,
        kind=candidate.config.kind,
        enabled=candidate.enabled,
        configured=candidate.configured,
        weight=candidate.config.weight,
        rate=candidate.config.rate,
        state=BreakerState(breaker.state),
        mode=BreakerMode(breaker.mode),
        words=describe_breaker(breaker, now),
        open_until=breaker.open_until,
        limited_until=breaker.limited_until,
        last_failure=breaker.last_failure,
        last_failure_at=breaker.last_failure_at,
        failure_mode=str(active or ""),
        failure_mode_until=active.until if active else None,
        since=began.created_at if began else breaker.opened_at,
        by=began.who if began else "",
        changed_at=changes[0].created_at if changes else None,
    )


def _add_refusals(account: AccountStatus, run: Run | None, now: dt.datetime) -> AccountStatus:
    """Return the account with the last spell in which it refused everything; a query only where there was one lately."""
    if run is None or not systemic_refusals.is_recent(run, now):
        return account
    return replace(
        account,
        refuses=run.is_systemic,
        refused_since=run.began_at,
        refusal_reason=run.reason,
        refused_emails=systemic_refusals.count_discarded(account.name, run),
    )


def _find_decisive_change(candidate: Candidate, changes: Sequence[BreakerChange]) -> BreakerChange | None:
    """Return the change with which somebody forced the breaker or disabled the account, as far as it is on record."""
    if not candidate.enabled:
        words = ("disabled",)
    elif candidate.breaker.mode != BreakerMode.AUTO:
        words = (BreakerMode(candidate.breaker.mode).label.lower(),)
    else:
        return None
    return next((one for one in changes if one.what.startswith(words)), None)


def _measure_disk() -> Any:
    """Of the data folder; of what is above it as long as nobody has needed it."""
    folder = settings.MERCURY_DATA
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder)


def _measure_oldest_unsent(now: dt.datetime) -> float | None:
    """By the index `mail_expiring`: mails expire in the order they came in, unless MERCURY_EXPIRY was changed."""
    created = Mail.objects.filter(status__in=DUE).order_by("expires_at").values_list("created_at", flat=True).first()
    return (now - created).total_seconds() if created else None
