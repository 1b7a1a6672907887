"""The circuit breaker of an account: when it opens, who may probe, how it recovers. One row, shared by all machines.

The arithmetic is pure: values and a `now` in, values out. `save` writes what it decided, if nobody was faster.
"""

import dataclasses
import datetime as dt
from dataclasses import dataclass

from mercury.lib import durations
from providers.models import Breaker, BreakerMode, BreakerState

FAILURE_LIMIT = 5  # provider faults within the window that open it …


FAILURE_SHARE = 0.5  # … if they are at least this share of the window's calls


FAILURE_LIMIT_RECOVERING = 2  # as many open it again after a good probe, with the same share of the calls since then


WINDOW = dt.timedelta(seconds=60)  # begins with the first fault


FIRST_WAIT = dt.timedelta(seconds=10)  # open for so long before the first probe; doubled after each that fails


LONGEST_WAIT = dt.timedelta(seconds=30)


SLOTS_AFTER_PROBE = 2  # calls at once after a good probe, doubled with each good group …


SLOTS_UNLIMITED = 256  # … until there is no bound any more


LIMIT_RAISED = dt.timedelta(seconds=1)  # a learned limit of calls at once grows by one after so long …


LIMIT_KEPT = dt.timedelta(seconds=60)  # … or after so long, once a raised one was refused again


FULL_FOR = dt.timedelta(seconds=2)  # a process whose only call is refused leaves the account to the others for so long


@dataclass(frozen=True, slots=True)
class Snapshot:
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
    last_fault: str = ""
    last_fault_at: dt.datetime | None = None

    @classmethod
    def of(cls, row: Breaker) -> "Snapshot":
        """The values of a loaded row."""
        return cls(**{name: getattr(row, name) for name in FIELDS})


FIELDS = tuple(field.name for field in dataclasses.fields(Snapshot))


@dataclass(frozen=True, slots=True)
class Observation:
    """What a group of calls of one account came to. `epoch` is the breaker's when the calls began."""

    epoch: int
    answered: int = 0  # accepted, or refused for the message's or the account's sake: the provider is there
    faults: int = 0  # faults of the provider, and unknown outcomes
    last_fault: str = ""
    limited_until: dt.datetime | None = None
    at_once: int = 0  # calls of the account that were in progress at once
    at_capacity: bool = False  # it refused to have more of them


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether an account may be called now. `until`: when it may be asked again, if waiting helps."""

    allowed: bool
    note: str
    probe: bool = False  # allowed, but as the one probe: take it with `begin_probe` first
    slots: int | None = None  # at most so many calls at once, by all that this drain does
    until: dt.datetime | None = None
    remedy: str = ""  # what ends it, where waiting does not


def check_permission(breaker: Snapshot, now: dt.datetime) -> Permission:
    """Whether the breaker and the provider's own rate limit let a call through."""
    if breaker.mode == BreakerMode.OPEN:
        return Permission(allowed=False, note="breaker forced open", remedy="until somebody sets it back to automatic")
    if breaker.limited_until and breaker.limited_until > now:
        return Permission(
            allowed=False, note=f"asked to wait until {breaker.limited_until:%H:%M:%S}", until=breaker.limited_until
        )
    if breaker.mode == BreakerMode.CLOSED:
        return Permission(allowed=True, note="breaker forced closed", slots=breaker.call_limit)
    match breaker.state:
        case BreakerState.OPEN if breaker.open_until and breaker.open_until > now:
            return Permission(
                allowed=False, note=f"breaker open until {breaker.open_until:%H:%M:%S}", until=breaker.open_until
            )
        case BreakerState.HALF_OPEN if breaker.probe_until and breaker.probe_until > now:
            return Permission(
                allowed=False, note="breaker half-open, a probe is under way", until=now + dt.timedelta(seconds=2)
            )
        case BreakerState.OPEN | BreakerState.HALF_OPEN:
            return Permission(allowed=True, note="breaker half-open, probe free", probe=True, slots=1)
    return _permission_when_closed(breaker)


def _permission_when_closed(breaker: Snapshot) -> Permission:
    if breaker.slots is not None and (breaker.call_limit is None or breaker.slots < breaker.call_limit):
        return Permission(allowed=True, note=f"recovering, {breaker.slots} calls at once", slots=breaker.slots)
    if breaker.call_limit is not None:
        return Permission(allowed=True, note=_limit_in_words(breaker.call_limit), slots=breaker.call_limit)
    return Permission(allowed=True, note="")


def _limit_in_words(limit: int) -> str:
    return f"takes {limit} call{'' if limit == 1 else 's'} at once"


def begin_probe(breaker: Snapshot, now: dt.datetime, lease: dt.timedelta) -> Snapshot:
    """The breaker with the one probe taken, until `lease` is over. Whoever saves it has the probe."""
    return dataclasses.replace(breaker, state=BreakerState.HALF_OPEN, epoch=breaker.epoch + 1, probe_until=now + lease)


def observe(breaker: Snapshot, tally: Observation, now: dt.datetime) -> Snapshot:
    """Return the breaker after a group of calls. Of results of an older epoch only what they say of limits counts."""
    if tally.limited_until and (breaker.limited_until is None or tally.limited_until > breaker.limited_until):
        breaker = dataclasses.replace(breaker, limited_until=tally.limited_until)
    breaker = _limit(breaker, tally, now)
    if tally.faults:
        breaker = dataclasses.replace(breaker, last_fault=tally.last_fault[:200], last_fault_at=now)
    if tally.epoch != breaker.epoch or breaker.mode != BreakerMode.AUTO:
        return breaker
    match breaker.state:
        case BreakerState.HALF_OPEN if tally.faults:
            return _open(breaker, now)
        case BreakerState.HALF_OPEN if tally.answered:
            return close(breaker)
        case BreakerState.HALF_OPEN:  # the call was not made: whoever asks next has the probe
            return dataclasses.replace(breaker, probe_until=None)
        case BreakerState.CLOSED if tally.limited_until:  # when the wait is over, not all may come at once
            return dataclasses.replace(_count(breaker, tally, now), slots=SLOTS_AFTER_PROBE)
        case BreakerState.CLOSED:
            return _count(breaker, tally, now)
    return breaker


def _limit(breaker: Snapshot, tally: Observation, now: dt.datetime) -> Snapshot:
    """Learn how many calls at once the account takes: as many as it had when it refused one more, and try one more later."""
    limit, until = breaker.call_limit, breaker.call_limit_until
    if tally.at_capacity:
        if not tally.at_once:  # other processes have them all: this one waits, see `FULL_FOR`
            return breaker
        if limit is None or until is None:
            return dataclasses.replace(breaker, call_limit=tally.at_once, call_limit_until=now + LIMIT_RAISED)
        if until > now:  # more refusals of the same burst
            return dataclasses.replace(breaker, call_limit=min(limit, tally.at_once))
        return dataclasses.replace(breaker, call_limit=max(1, limit - 1), call_limit_until=now + LIMIT_KEPT)
    if limit is None or not tally.answered or tally.at_once < limit or (until is not None and until > now):
        return breaker
    if limit + 1 >= SLOTS_UNLIMITED:
        return dataclasses.replace(breaker, call_limit=None, call_limit_until=None)
    return dataclasses.replace(breaker, call_limit=limit + 1, call_limit_until=now + LIMIT_RAISED)


def _count(breaker: Snapshot, tally: Observation, now: dt.datetime) -> Snapshot:
    """A closed breaker counts only from the first fault on, so that good times cost no write."""
    if breaker.slots is not None:
        return _recover(breaker, breaker.slots, tally, now)
    if breaker.window_started_at and now - breaker.window_started_at > WINDOW:
        breaker = dataclasses.replace(breaker, window_started_at=None, window_calls=0, window_failures=0)
    if not tally.faults and breaker.window_started_at is None:
        return breaker
    breaker = dataclasses.replace(
        breaker,
        window_started_at=breaker.window_started_at or now,
        window_calls=breaker.window_calls + tally.answered + tally.faults,
        window_failures=breaker.window_failures + tally.faults,
    )
    if breaker.window_failures >= FAILURE_LIMIT and breaker.window_failures >= FAILURE_SHARE * breaker.window_calls:
        return _open(breaker, now)
    return breaker


def _recover(breaker: Snapshot, slots: int, tally: Observation, now: dt.datetime) -> Snapshot:
    """After a good probe. One fault proves nothing: an account that fails now and then would never get well again."""
    calls = breaker.window_calls + tally.answered + tally.faults
    faults = breaker.window_failures + tally.faults
    if faults >= FAILURE_LIMIT_RECOVERING and faults >= FAILURE_SHARE * calls:
        return _open(breaker, now)
    if tally.answered <= tally.faults:
        return dataclasses.replace(breaker, window_calls=calls, window_failures=faults)
    if slots * 2 >= SLOTS_UNLIMITED:
        return dataclasses.replace(breaker, slots=None, trips=0, window_calls=0, window_failures=0)
    return dataclasses.replace(breaker, slots=slots * 2, trips=0, window_calls=calls, window_failures=faults)


def _open(breaker: Snapshot, now: dt.datetime) -> Snapshot:
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


def close(breaker: Snapshot) -> Snapshot:
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


def describe_breaker(breaker: Snapshot, now: dt.datetime) -> str:
    """What the breaker does now, in words: "1 fault of 5", "probe in 26 s"."""
    if breaker.mode != BreakerMode.AUTO:
        return BreakerMode(breaker.mode).label
    if breaker.state == BreakerState.OPEN and breaker.open_until:
        wait = (breaker.open_until - now).total_seconds()
        return f"probe in {durations.words(wait)}" if wait > 0 else "probe with the next mail"
    if breaker.state == BreakerState.HALF_OPEN:
        under_way = breaker.probe_until is not None and breaker.probe_until > now
        return "one probe under way" if under_way else "probe with the next mail"
    if breaker.slots is not None:
        return f"recovering, {breaker.slots} calls at once"
    if breaker.call_limit is not None and not breaker.window_failures:
        return _limit_in_words(breaker.call_limit)
    if breaker.window_failures and breaker.window_started_at and now - breaker.window_started_at <= WINDOW:
        faults = f"{breaker.window_failures} fault{'s' if breaker.window_failures > 1 else ''}"
        return f"{faults} {f'in {breaker.window_calls} calls' if breaker.window_failures >= FAILURE_LIMIT else f'of {FAILURE_LIMIT}'}"
    return "no faults"
