"""The system status: what waits, which workers run, which accounts accept email, and the state of Redis and the disk.

Reads partial indexes and bounded counts, so that the cost does not grow with the number of emails.
"""

import datetime as dt
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q

from mails import pauses, queue_settings
from mails.dispatch import wake
from mails.dispatch.due import due_routes, routes
from mails.models import Mail, Pause, Worker
from mails.reporting import (
    bound_email,
    missed_email,
    recent_failures,
    rollups,
    sink_status,
    statistics,
    stuck_rules,
    submission_stream_status,
    systemic_refusals,
    webhook_status,
)
from mails.reporting.bound_email import BoundEmail
from mails.reporting.missed_email import MissedEmail
from mails.reporting.recent_failures import RECENT, RecentFailures
from mails.reporting.sink_status import SinkStatus
from mails.reporting.statistics import AccountStatistics
from mails.reporting.stuck_rules import StuckRule
from mails.reporting.submission_stream_status import SubmissionStreamStatus
from mails.reporting.webhook_status import TroubledWebhook
from mails.states import DUE, LEASED, WORKER_SILENCE, HoldReason, Level, Status
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.health.breaker import BreakerSnapshot
from providers.health.refusal_runs import RefusalRunSnapshot
from providers.models import BreakerChange, BreakerMode, BreakerState
from providers.routing.quota_status import QuotaStatus, describe_quota
from providers.routing.refusing_accounts import describe_account, load_refusals
from providers.sandbox.failure_modes import SimulatedFailure

COUNTED_AT_MOST = 100_000  # emails; a longer queue is shown as "at least"
EXPIRING_READ = 200  # emails, those that expire first
CHANGES_READ = 200  # of all accounts
LATELY = dt.timedelta(hours=24)  # so that failures of the night are seen in the morning


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """The emails that wait in a queue. Counts stop at 100,000."""

    queue: str
    due: int  # emails that could be sent now
    oldest: float | None  # seconds that the oldest of them has been due
    deferred: int  # emails that wait for their next attempt
    next_at: dt.datetime | None  # when the first of these is due …
    last_at: dt.datetime | None  # … and the last
    scheduled: int = 0  # emails whose time has not come
    next_scheduled_at: dt.datetime | None = None  # when the first of these is sent
    paused_at: dt.datetime | None = None  # since when the queue is paused; None while it is running
    paused_by: str = ""
    paused_note: str = ""  # why
    in_progress: int = 0  # emails that workers have claimed
    share: int = 100  # percent of a worker's slots that it may fill while other queues have due email
    rate: float | None = None  # emails a second, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCounts:
    """Held emails by reason. Counts stop at 100,000."""

    unknown: int  # their outcome is not known
    poison: int
    file_missing: int = 0  # the content of an attachment is gone
    operator: int  # held by a person, or for any other reason

    @property
    def total(self) -> int:
        """All of them."""
        return self.unknown + self.poison + self.file_missing + self.operator


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A process that dispatches, by its last heartbeat."""

    id: str
    alive: bool  # its last heartbeat is younger than WORKER_SILENCE
    queues: Sequence[str]
    concurrency: int
    in_flight: int
    closed: int
    done: int
    started_at: dt.datetime
    seen_at: dt.datetime
    polled_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """A provider account now."""

    id: int
    name: str
    kind: str
    enabled: bool
    configured: bool
    weight: int
    rate: float | None  # requests a second, at most
    state: BreakerState
    mode: BreakerMode
    words: (
        str  # what the breaker does, such as "probe in 26 s"; or what the account refuses, if it refuses every request
    )
    open_until: dt.datetime | None
    limited_until: dt.datetime | None
    last_failure: str
    last_failure_at: dt.datetime | None
    failure_mode: str  # of a sandbox, such as "refuse=503"; mostly empty …
    failure_mode_until: dt.datetime | None  # … and until when
    since: dt.datetime | None = None  # when the breaker opened or was forced, or the account was disabled
    by: str = ""  # who did that
    changed_at: dt.datetime | None = None  # when its settings or its breaker last changed
    refuses_requests: bool = False  # every one, because of itself; see `providers.routing.refusing_accounts`
    refuses: bool = False  # every email, so that its refusals count as its own; see `providers.health.refusal_runs`
    refused_since: dt.datetime | None = None  # when that began, now or the last time
    refusal_reason: str = ""  # its words
    quota: QuotaStatus | None = None  # what it has sent of its quotas
    refused_emails: int = 0  # discarded before that was noticed, and not sent again; at most 10,000

    @property
    def effective(self) -> BreakerState:
        """The state that decides: the forced one, or the breaker's own."""
        forced = {BreakerMode.OPEN: BreakerState.OPEN, BreakerMode.CLOSED: BreakerState.CLOSED}
        return forced.get(self.mode, self.state)

    def is_ready(self, now: dt.datetime) -> bool:
        """Return True if the account can accept email now."""
        return (
            self.enabled
            and self.configured
            and bool(self.weight)
            and self.effective == BreakerState.CLOSED
            and not (self.limited_until and self.limited_until > now)
            and not (self.quota and self.quota.is_out)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStatus:
    """The status of this instance at one moment."""

    at: dt.datetime
    queues: Sequence[QueueStatus]
    claimed: int  # emails that a worker has claimed
    sending_paused_by: str | None  # who paused all sending; None while it is running
    oldest_unsent: float | None  # age in seconds of the oldest email that is due or deferred
    held: HeldCounts
    expired: int  # in the last 24 hours and not reprocessed; at most 100,000
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
    sinks: Sequence[SinkStatus] = ()
    webhooks: Sequence[TroubledWebhook] = ()
    webhook_lag: float | None = None  # seconds that the first event has waited for webhooks; None without any
    submission_streams: Sequence[SubmissionStreamStatus] = ()
    stuck_rules: Sequence[StuckRule] = ()  # routing rules without an account that can be used
    bound_email: Sequence[BoundEmail] = ()  # email that may use some accounts only, while one cannot accept any
    missed_email: Mapping[str, MissedEmail] = field(default_factory=dict)  # by account that accepted none lately

    @property
    def alive(self) -> list[WorkerStatus]:
        """The workers whose heartbeats arrive."""
        return [worker for worker in self.workers if worker.alive]

    @property
    def poll_age(self) -> float | None:
        """Seconds since a living worker last looked for due emails; None if none ever did."""
        return compute_poll_age(self.alive, self.at)


def read_system_status(now: dt.datetime | None = None) -> SystemStatus:
    """Read the system status: some twenty short queries, one request to Redis of at most 0.25 s, and one to the disk."""
    now = now or database_clock.now()
    disk = _measure_disk()
    paused = pauses.load_active()
    recent = statistics.load_statistics(now - RECENT, now, Level.MINUTE)
    changes, gone = load_breaker_changes(), count_expired(now)
    claimed, configs = count_claimed(), queue_settings.read()
    candidates = registry.load_candidates()
    refusals = load_refusals(candidates, now)
    queues = [
        replace(
            read_queue_status(queue, now, paused.queues.get(queue)),
            in_progress=claimed.get(queue, 0),
            share=config.share,
            rate=config.rate,
        )
        for queue, config in configs.items()
    ]
    accounts = [
        _add_refusals(
            build_account_status(candidate, refusals, now, changes.get(candidate.id, ())), candidate.refusals, now
        )
        for candidate in candidates
    ]
    accepted = statistics.summarize_accounts(recent)
    failures = recent_failures.read_recent_failures(now, recent)
    return SystemStatus(
        at=now,
        queues=queues,
        claimed=sum(claimed.values()),
        sending_paused_by=paused.all_sending.who if paused.all_sending else None,
        oldest_unsent=_measure_oldest_unsent(now, queues),
        held=count_held(),
        expired=gone["count"],
        workers=list_workers(now),
        accounts=accounts,
        recent=accepted,
        redis=wake.check_redis(),
        disk_free=disk.free / disk.total,
        disk_free_bytes=disk.free,
        counted_until=rollups.read_counted_until(),
        sending_paused_at=paused.all_sending.paused_at if paused.all_sending else None,
        expired_since=gone["first"],
        failures=failures,
        sinks=sink_status.list_sinks(now),
        webhooks=webhook_status.list_troubled(now),
        webhook_lag=webhook_status.measure_lag(now),
        submission_streams=submission_stream_status.list_submission_streams(now),
        stuck_rules=stuck_rules.list_stuck_rules(candidates),
        bound_email=bound_email.list_bound_email(candidates) if _may_hold_up_email(accounts, failures, now) else [],
        missed_email=missed_email.count_missed(_find_silent(accounts, accepted), candidates, now - RECENT),
    )


def _may_hold_up_email(accounts: Sequence[AccountStatus], failures: RecentFailures, now: dt.datetime) -> bool:
    """Return True if an enabled account accepts no email now or refused some lately: email that may use it alone may wait."""
    refused = {failure.account for failure in failures.repeated_failures}
    return any(
        not account.is_ready(now) or account.refuses or account.name in refused
        for account in accounts
        if account.enabled
    )


def _find_silent(accounts: Sequence[AccountStatus], recent: Sequence[AccountStatistics]) -> list[str]:
    """Return the enabled accounts that accepted nothing lately, while others accepted some."""
    accepted = {statistics.name for statistics in recent if statistics.accepted}
    return (
        [account.name for account in accounts if account.enabled and account.name not in accepted] if accepted else []
    )


def count_claimed() -> dict[str, int]:
    """Return the emails of each queue that workers have claimed. One query."""
    return dict(Mail.objects.filter(status__in=LEASED).order_by().values_list("queue").annotate(Count("pk")))


def read_queue_status(queue: str, now: dt.datetime, pause: Pause | None = None) -> QueueStatus:
    """Count what waits in a queue, which this pause stops: two queries of `mail_due`, one each of two other indexes."""
    mails = Mail.objects.filter(queue=queue, status__in=DUE).values("next_attempt_at")
    found_routes = routes.find_routes({queue: ""}, limit=due_routes.ROUTES_PER_LOOK, even_paused=True)
    in_routes = mails.filter(route__in=[route.name for route in found_routes])
    due = in_routes.filter(next_attempt_at__lte=now)[:COUNTED_AT_MOST].count()
    later = (
        Mail.objects.filter(queue=queue, status=Status.WAITING, next_attempt_at__gt=now)
        .order_by("next_attempt_at")
        .values("next_attempt_at")[:COUNTED_AT_MOST]
        .aggregate(count=Count("next_attempt_at"), first=Min("next_attempt_at"), last=Max("next_attempt_at"))
    )
    scheduled = (
        Mail.objects.filter(queue=queue, status=Status.QUEUED, send_at__isnull=False, send_at__gt=now)
        .order_by("send_at")
        .values("send_at")[:COUNTED_AT_MOST]
        .aggregate(count=Count("send_at"), first=Min("send_at"))
    )
    first = min((route.due_at for route in found_routes), default=now)
    oldest = (now - first).total_seconds() if due else None
    found = QueueStatus(
        queue=queue,
        due=due,
        oldest=oldest,
        deferred=later["count"],
        next_at=later["first"],
        last_at=later["last"],
        scheduled=scheduled["count"],
        next_scheduled_at=scheduled["first"],
    )
    if pause is None:
        return found
    return replace(found, paused_at=pause.paused_at, paused_by=pause.who, paused_note=pause.note)


def count_held() -> HeldCounts:
    """Count held emails by reason."""
    mails = Mail.objects.filter(status=Status.HELD).order_by("-id").values("reason_code")[:COUNTED_AT_MOST]
    counts = mails.aggregate(
        total=Count("reason_code"),
        unknown=Count("reason_code", filter=Q(reason_code=HoldReason.UNKNOWN)),
        poison=Count("reason_code", filter=Q(reason_code=HoldReason.POISON)),
        file_missing=Count("reason_code", filter=Q(reason_code=HoldReason.FILE_MISSING)),
    )
    return HeldCounts(
        unknown=counts["unknown"],
        poison=counts["poison"],
        file_missing=counts["file_missing"],
        operator=counts["total"] - counts["unknown"] - counts["poison"] - counts["file_missing"],
    )


def count_expired(now: dt.datetime) -> dict[str, Any]:
    """Return how many emails expired in the last 24 hours and are still so, and when the first did: by `mail_expired`."""
    lately = Mail.objects.filter(status=Status.EXPIRED, finished_at__gte=now - LATELY)[:COUNTED_AT_MOST]
    return lately.aggregate(count=Count("finished_at"), first=Min("finished_at"))


def list_workers(now: dt.datetime) -> list[WorkerStatus]:
    """Return the workers of the last hour, the living ones first."""
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
    return sorted(found, key=lambda worker: (not worker.alive, worker.id))


def compute_poll_age(alive: Sequence[WorkerStatus], now: dt.datetime) -> float | None:
    """Return the seconds since one of these workers last looked for due emails; None if none ever did."""
    looks = [worker.polled_at for worker in alive if worker.polled_at]
    return max(0.0, (now - max(looks)).total_seconds()) if looks else None


def load_breaker_changes() -> dict[int, list[BreakerChange]]:
    """Return the last changes of each account, newest first. One query of the last 200."""
    found: dict[int, list[BreakerChange]] = defaultdict(list)
    for change in BreakerChange.objects.order_by("-id")[:CHANGES_READ]:
        if change.account_id is not None:  # its account still exists
            found[change.account_id].append(change)
    return found


def build_account_status(
    candidate: Candidate, refusals: Mapping[str, str], now: dt.datetime, changes: Sequence[BreakerChange] = ()
) -> AccountStatus:
    """Build the status of an account. `refusals`: of all accounts; `changes`: its last ones, newest first."""
    began = _find_decisive_change(candidate, changes)
    breaker: BreakerSnapshot = candidate.breaker
    configured: SimulatedFailure | None = candidate.config.options.get("failure_mode")
    simulated = configured if configured is not None and now < configured.until else None
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
        words=describe_account(candidate, refusals, now),
        refuses_requests=candidate.config.name in refusals,
        open_until=breaker.open_until,
        limited_until=breaker.limited_until,
        last_failure=breaker.last_failure,
        last_failure_at=breaker.last_failure_at,
        failure_mode=str(simulated or ""),
        failure_mode_until=simulated.until if simulated else None,
        since=began.created_at if began else breaker.opened_at,
        by=began.who if began else "",
        changed_at=changes[0].created_at if changes else None,
        quota=describe_quota(candidate, now),
    )


def _add_refusals(account: AccountStatus, run: RefusalRunSnapshot | None, now: dt.datetime) -> AccountStatus:
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
    return next((change for change in changes if change.what.startswith(words)), None)


def _measure_disk() -> Any:
    """Measure the disk of the data folder; of the folder above it while that does not exist."""
    folder = settings.MERCURY_DATA
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder)


def _measure_oldest_unsent(now: dt.datetime, queues: Sequence[QueueStatus]) -> float | None:
    """Return the age of the oldest unsent email, without those that are scheduled; a scheduled one ages from its time on.

    By the index `mail_expiring`: emails expire in the order of arrival, but for those with times of their own. Of these it
    reads EXPIRING_READ at most, so that it may tell the age since an email became due instead.
    """
    expiring = Mail.objects.filter(status__in=DUE).order_by("expires_at").values_list("created_at", "send_at")
    wanted = [max(created_at, send_at or created_at) for created_at, send_at in expiring[:EXPIRING_READ]]
    ages = [(now - moment).total_seconds() for moment in wanted if moment <= now]
    return max([*ages, *(queue.oldest for queue in queues if queue.oldest is not None)], default=None)
