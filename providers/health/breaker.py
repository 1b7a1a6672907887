"""The circuit breaker of an account: when it opens, who may probe, how it recovers.

Pure: values and a `now` in, values out. `breaker_store` writes them, so that all machines share one row.
"""

import dataclasses
import datetime as dt
from dataclasses import dataclass

from mercury.lib import durations
from providers.models import Breaker, BreakerMode, BreakerState
from providers.quotas.allowance import QuotaUse

FAILURE_LIMIT = 5  # provider failures within the window that open it …


FAILURE_SHARE = 0.5  # … if they are at least this share of the window's calls


FAILURE_LIMIT_RECOVERING = 2  # this many open it again after a good probe, with the same share of the calls since then


WINDOW = dt.timedelta(seconds=60)  # begins with the first failure


FIRST_WAIT = dt.timedelta(seconds=10)  # before the first probe; doubled after each probe that fails


LONGEST_WAIT = dt.timedelta(seconds=30)


SLOTS_AFTER_PROBE = 2  # concurrent calls after a good probe, doubled with each good group …


SLOTS_UNLIMITED = 256  # … until there is no limit any more


LIMIT_RAISED = dt.timedelta(seconds=1)  # a learned limit of concurrent calls grows by one after this time …


LIMIT_KEPT = dt.timedelta(seconds=60)  # … or after this time, once a raised limit was refused again


FULL_FOR = dt.timedelta(seconds=2)  # how long a process leaves the account to others after its only call was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSnapshot:
    """The row of a breaker as values; see `models.Breaker` for each field."""

    account_id: int
    version: int = 0
    mode: BreakerMode = BreakerMode.AUTO
    state: BreakerState = BreakerState.CLOSED
    epoch: int = 0
    window_started_at: dt.datetime | None = None
    window_calls: int = 0
    window_failures: int = 0
    trips: int = 0
    opened_at: dt.datetime | None = None
    open_until: dt.datetime | None = None
    probe_until: dt.datetime | None = None
    slots: int | None = None
    limited_until: dt.datetime | None = None
    call_limit: int | None = None
    call_limit_until: dt.datetime | None = None
    next_call_at: dt.datetime | None = None
    quota_day: dt.date | None = None
    quota_day_used: int = 0
    quota_month: dt.date | None = None
    quota_month_used: int = 0
    out_of_quota_since: dt.datetime | None = None
    out_of_quota_until: dt.datetime | None = None
    out_of_quota_reason: str = ""
    last_failure: str = ""
    last_failure_at: dt.datetime | None = None

    @property
    def quota_use(self) -> QuotaUse:
        """Return what the account has sent in the day and the month that are counted."""
        return QuotaUse(
            day=self.quota_day,
            day_used=self.quota_day_used,
            month=self.quota_month,
            month_used=self.quota_month_used,
        )

    def count_quota(self, use: QuotaUse) -> "BreakerSnapshot":
        """Return the breaker with this use of the account's quotas."""
        return dataclasses.replace(
            self,
            quota_day=use.day,
            quota_day_used=use.day_used,
            quota_month=use.month,
            quota_month_used=use.month_used,
        )

    def is_out_of_quota(self, now: dt.datetime) -> bool:
        """Return True if the provider said that a quota is used up, and neither its time nor an operator ended that."""
        return self.out_of_quota_since is not None and (
            self.out_of_quota_until is None or self.out_of_quota_until > now
        )

    @classmethod
    def from_row(cls, row: Breaker) -> "BreakerSnapshot":
        """Return the values of a loaded row."""
        return cls(**{name: getattr(row, name) for name in FIELDS})


FIELDS = tuple(field.name for field in dataclasses.fields(BreakerSnapshot))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Results of a group of calls of one account. `epoch`: the breaker's when the calls began."""

    epoch: int
    answered: int = 0  # accepted, or refused because of the message or the account: the provider works
    failures: int = 0  # provider failures, and unknown outcomes
    last_failure: str = ""
    limited_until: dt.datetime | None = None
    at_once: int = 0  # concurrent calls of the account
    at_capacity: bool = False  # it refused to have more
    quota_end: "QuotaEnd | None" = None  # the provider said that a quota is used up


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaEnd:
    """A provider's answer that a quota is used up. `until`: None if it has to be opened by an operator."""

    reason: str
    until: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPermission:
    """Permission to call an account now. `until`: when to ask again, if waiting helps."""

    allowed: bool
    note: str
    probe: bool = False  # allowed as the one probe: claim it with `begin_probe` first
    slots: int | None = None  # concurrent calls that this dispatcher may have
    until: dt.datetime | None = None
    remedy: str = ""  # what ends it, where waiting does not


def check_permission(breaker: BreakerSnapshot, now: dt.datetime) -> CallPermission:
    """Return whether the breaker and the provider's own rate limit allow a call, and why."""
    if breaker.mode == BreakerMode.OPEN:
        return CallPermission(allowed=False, note="breaker forced open", remedy="until someone sets it to automatic")
    if breaker.is_out_of_quota(now):
        return _refuse_out_of_quota(breaker, now)
    if breaker.limited_until and breaker.limited_until > now:
        return CallPermission(
            allowed=False, note=f"asked to wait until {breaker.limited_until:%H:%M:%S}", until=breaker.limited_until
        )
    if breaker.mode == BreakerMode.CLOSED:
        return CallPermission(allowed=True, note="breaker forced closed", slots=breaker.call_limit)
    match breaker.state:
        case BreakerState.OPEN if breaker.open_until and breaker.open_until > now:
            return CallPermission(
                allowed=False, note=f"breaker open until {breaker.open_until:%H:%M:%S}", until=breaker.open_until
            )
        case BreakerState.HALF_OPEN if breaker.probe_until and breaker.probe_until > now:
            return CallPermission(
                allowed=False, note="breaker half-open, a probe is in progress", until=now + dt.timedelta(seconds=2)
            )
        case BreakerState.OPEN | BreakerState.HALF_OPEN:
            return CallPermission(allowed=True, note="breaker half-open, probe free", probe=True, slots=1)
    return _check_closed(breaker)


def _refuse_out_of_quota(breaker: BreakerSnapshot, now: dt.datetime) -> CallPermission:
    if breaker.out_of_quota_until is None:
        return CallPermission(
            allowed=False,
            note="out of quota at the provider",
            remedy="until someone opens it: manage.py providers open",
        )
    moment = durations.format_moment(breaker.out_of_quota_until, now)
    return CallPermission(
        allowed=False, note=f"out of quota at the provider until {moment}", until=breaker.out_of_quota_until
    )


def _check_closed(breaker: BreakerSnapshot) -> CallPermission:
    if breaker.slots is not None and (breaker.call_limit is None or breaker.slots < breaker.call_limit):
        return CallPermission(allowed=True, note=f"recovering, {breaker.slots} requests at once", slots=breaker.slots)
    if breaker.call_limit is not None:
        return CallPermission(allowed=True, note=_describe_limit(breaker.call_limit), slots=breaker.call_limit)
    return CallPermission(allowed=True, note="")


def _describe_limit(limit: int) -> str:
    return f"accepts {limit} request{'' if limit == 1 else 's'} at once"


def begin_probe(breaker: BreakerSnapshot, now: dt.datetime, lease: dt.timedelta) -> BreakerSnapshot:
    """Return the breaker with its one probe claimed for `lease`. The process that saves it makes the probe."""
    return dataclasses.replace(breaker, state=BreakerState.HALF_OPEN, epoch=breaker.epoch + 1, probe_until=now + lease)


def observe(breaker: BreakerSnapshot, observation: Observation, now: dt.datetime) -> BreakerSnapshot:
    """Return the breaker after a group of calls. Results of an older epoch count for limits only."""
    if observation.limited_until and (
        breaker.limited_until is None or observation.limited_until > breaker.limited_until
    ):
        breaker = dataclasses.replace(breaker, limited_until=observation.limited_until)
    breaker = _learn_limit(_end_quota(breaker, observation, now), observation, now)
    if observation.failures:
        breaker = dataclasses.replace(breaker, last_failure=observation.last_failure[:200], last_failure_at=now)
    if observation.epoch != breaker.epoch or breaker.mode != BreakerMode.AUTO:
        return breaker
    match breaker.state:
        case BreakerState.HALF_OPEN if observation.failures:
            return _open(breaker, now)
        case BreakerState.HALF_OPEN if observation.answered:
            return close(breaker)
        case BreakerState.HALF_OPEN:  # the call was not made: the next process may probe
            return dataclasses.replace(breaker, probe_until=None)
        case BreakerState.CLOSED if (
            observation.limited_until or observation.quota_end
        ):  # when the wait is over, not all calls may start at once
            return dataclasses.replace(_count(breaker, observation, now), slots=SLOTS_AFTER_PROBE)
        case BreakerState.CLOSED:
            return _count(breaker, observation, now)
    return breaker


def _end_quota(breaker: BreakerSnapshot, observation: Observation, now: dt.datetime) -> BreakerSnapshot:
    """Note that the provider's quota is used up. A call that began before somebody opened the account says nothing."""
    end = observation.quota_end
    if end is None or observation.epoch != breaker.epoch:
        return breaker
    since = breaker.out_of_quota_since
    if since is not None and breaker.is_out_of_quota(now):  # more refusals of the same quota: the longest wait counts
        until = breaker.out_of_quota_until
        if until is None or (end.until is not None and end.until <= until):
            return breaker
    return dataclasses.replace(
        breaker,
        out_of_quota_since=since if since is not None and breaker.is_out_of_quota(now) else now,
        out_of_quota_until=end.until,
        out_of_quota_reason=end.reason[:200],
    )


def open_again(breaker: BreakerSnapshot) -> BreakerSnapshot:
    """Return the breaker of an account that may be called again, whatever its provider said about a quota."""
    return dataclasses.replace(
        breaker, epoch=breaker.epoch + 1, out_of_quota_since=None, out_of_quota_until=None, out_of_quota_reason=""
    )


def _learn_limit(breaker: BreakerSnapshot, observation: Observation, now: dt.datetime) -> BreakerSnapshot:
    """Learn how many concurrent calls the account accepts: the number at which it refused one more. Try one more later."""
    limit, until = breaker.call_limit, breaker.call_limit_until
    if observation.at_capacity:
        if not observation.at_once:  # other processes use them all: this one waits, see `FULL_FOR`
            return breaker
        if limit is None or until is None:
            return dataclasses.replace(breaker, call_limit=observation.at_once, call_limit_until=now + LIMIT_RAISED)
        if until > now:  # more refusals of the same burst
            return dataclasses.replace(breaker, call_limit=min(limit, observation.at_once))
        return dataclasses.replace(breaker, call_limit=max(1, limit - 1), call_limit_until=now + LIMIT_KEPT)
    if limit is None or not observation.answered or observation.at_once < limit or (until is not None and until > now):
        return breaker
    if limit + 1 >= SLOTS_UNLIMITED:
        return dataclasses.replace(breaker, call_limit=None, call_limit_until=None)
    return dataclasses.replace(breaker, call_limit=limit + 1, call_limit_until=now + LIMIT_RAISED)


def _count(breaker: BreakerSnapshot, observation: Observation, now: dt.datetime) -> BreakerSnapshot:
    """Count the calls of a closed breaker. It counts from the first failure on: without failures nothing is written."""
    if breaker.slots is not None:
        return _recover(breaker, breaker.slots, observation, now)
    if breaker.window_started_at and now - breaker.window_started_at > WINDOW:
        breaker = dataclasses.replace(breaker, window_started_at=None, window_calls=0, window_failures=0)
    if not observation.failures and breaker.window_started_at is None:
        return breaker
    breaker = dataclasses.replace(
        breaker,
        window_started_at=breaker.window_started_at or now,
        window_calls=breaker.window_calls + observation.answered + observation.failures,
        window_failures=breaker.window_failures + observation.failures,
    )
    if breaker.window_failures >= FAILURE_LIMIT and breaker.window_failures >= FAILURE_SHARE * breaker.window_calls:
        return _open(breaker, now)
    return breaker


def _recover(breaker: BreakerSnapshot, slots: int, observation: Observation, now: dt.datetime) -> BreakerSnapshot:
    """Raise the slots after a good probe. One failure does not stop it: an occasional failure must not block recovery."""
    calls = breaker.window_calls + observation.answered + observation.failures
    failures = breaker.window_failures + observation.failures
    if failures >= FAILURE_LIMIT_RECOVERING and failures >= FAILURE_SHARE * calls:
        return _open(breaker, now)
    if observation.answered <= observation.failures:
        return dataclasses.replace(breaker, window_calls=calls, window_failures=failures)
    if slots * 2 >= SLOTS_UNLIMITED:
        return dataclasses.replace(breaker, slots=None, trips=0, window_calls=0, window_failures=0)
    return dataclasses.replace(breaker, slots=slots * 2, trips=0, window_calls=calls, window_failures=failures)


def _open(breaker: BreakerSnapshot, now: dt.datetime) -> BreakerSnapshot:
    wait = min(FIRST_WAIT * 2 ** min(breaker.trips, 10), LONGEST_WAIT)
    return dataclasses.replace(
        breaker,
        state=BreakerState.OPEN,
        epoch=breaker.epoch + 1,
        trips=min(breaker.trips + 1, 100),
        opened_at=breaker.opened_at if breaker.state == BreakerState.HALF_OPEN and breaker.opened_at else now,
        open_until=now + wait,
        probe_until=None,
        slots=None,
    )


def close(breaker: BreakerSnapshot) -> BreakerSnapshot:
    """Return the breaker closed, with few slots at first."""
    return dataclasses.replace(
        breaker,
        state=BreakerState.CLOSED,
        epoch=breaker.epoch + 1,
        window_started_at=None,
        window_calls=0,
        window_failures=0,
        opened_at=None,
        open_until=None,
        probe_until=None,
        slots=SLOTS_AFTER_PROBE,
    )


def describe_breaker(breaker: BreakerSnapshot, now: dt.datetime) -> str:
    """Return what the breaker does now, in words: "1 failure of 5", "probe in 26 s"."""
    if breaker.mode != BreakerMode.AUTO:
        return BreakerMode(breaker.mode).label
    if breaker.state == BreakerState.OPEN and breaker.open_until:
        wait = (breaker.open_until - now).total_seconds()
        return f"probe in {durations.format_duration(wait)}" if wait > 0 else "probe with the next email"
    if breaker.state == BreakerState.HALF_OPEN:
        is_probing = breaker.probe_until is not None and breaker.probe_until > now
        return "one probe in progress" if is_probing else "probe with the next email"
    if breaker.slots is not None:
        return f"recovering, {breaker.slots} requests at once"
    if breaker.call_limit is not None and not breaker.window_failures:
        return _describe_limit(breaker.call_limit)
    if breaker.window_failures and breaker.window_started_at and now - breaker.window_started_at <= WINDOW:
        failures = f"{breaker.window_failures} failure{'s' if breaker.window_failures > 1 else ''}"
        return f"{failures} {f'in {breaker.window_calls} requests' if breaker.window_failures >= FAILURE_LIMIT else f'of {FAILURE_LIMIT}'}"
    return "no recent errors"
