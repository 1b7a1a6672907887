"""The circuit breaker of an account: when it opens, who may probe, how it recovers. One row, shared by all machines.

The arithmetic is pure: values and a `now` in, values out. `save` writes what it decided, if nobody was faster.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from mercury.lib import durations
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from providers import history
from providers.models import Account, Breaker, BreakerMode, BreakerState

FAULT_LIMIT = 5  # provider faults within the window that open it …
FAULT_SHARE = 0.5  # … if they are at least this share of the window's calls
FAULT_LIMIT_RECOVERING = 2  # as many open it again after a good probe, with the same share of the calls since then
WINDOW = dt.timedelta(seconds=60)  # begins with the first fault
FIRST_WAIT = dt.timedelta(seconds=10)  # open for so long before the first probe; doubled after each that fails
LONGEST_WAIT = dt.timedelta(seconds=30)
PLACES_AFTER_PROBE = 2  # calls at once after a good probe, doubled with each good group …
PLACES_FULL = 256  # … until there is no bound any more
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
    window_faults: int = 0
    trips: int = 0
    opened_at: dt.datetime | None = None
    open_until: dt.datetime | None = None
    probe_until: dt.datetime | None = None
    places: int | None = None
    limited_until: dt.datetime | None = None
    call_limit: int | None = None
    call_limit_until: dt.datetime | None = None
    next_call_at: dt.datetime | None = None
    last_fault: str = ""
    last_fault_at: dt.datetime | None = None

    @classmethod
    def of(cls, row: Breaker) -> "Snapshot":
        """The values of a loaded row."""
        return cls(**{name: getattr(row, name) for name in _FIELDS})


_FIELDS = tuple(field.name for field in dataclasses.fields(Snapshot))


@dataclass(frozen=True, slots=True)
class Tally:
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
    places: int | None = None  # at most so many calls at once, by all that this drain does
    until: dt.datetime | None = None
    remedy: str = ""  # what ends it, where waiting does not


def permission(breaker: Snapshot, now: dt.datetime) -> Permission:
    """Whether the breaker and the provider's own rate limit let a call through."""
    if breaker.mode == BreakerMode.OPEN:
        return Permission(allowed=False, note="breaker forced open", remedy="until somebody sets it back to automatic")
    if breaker.limited_until and breaker.limited_until > now:
        return Permission(
            allowed=False, note=f"asked to wait until {breaker.limited_until:%H:%M:%S}", until=breaker.limited_until
        )
    if breaker.mode == BreakerMode.CLOSED:
        return Permission(allowed=True, note="breaker forced closed", places=breaker.call_limit)
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
            return Permission(allowed=True, note="breaker half-open, probe free", probe=True, places=1)
    return _permission_when_closed(breaker)


def _permission_when_closed(breaker: Snapshot) -> Permission:
    if breaker.places is not None and (breaker.call_limit is None or breaker.places < breaker.call_limit):
        return Permission(allowed=True, note=f"recovering, {breaker.places} calls at once", places=breaker.places)
    if breaker.call_limit is not None:
        return Permission(allowed=True, note=_limit_in_words(breaker.call_limit), places=breaker.call_limit)
    return Permission(allowed=True, note="")


def _limit_in_words(limit: int) -> str:
    return f"takes {limit} call{'' if limit == 1 else 's'} at once"


def begin_probe(breaker: Snapshot, now: dt.datetime, lease: dt.timedelta) -> Snapshot:
    """The breaker with the one probe taken, until `lease` is over. Whoever saves it has the probe."""
    return dataclasses.replace(breaker, state=BreakerState.HALF_OPEN, epoch=breaker.epoch + 1, probe_until=now + lease)


def observe(breaker: Snapshot, tally: Tally, now: dt.datetime) -> Snapshot:
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
            return _close(breaker)
        case BreakerState.HALF_OPEN:  # the call was not made: whoever asks next has the probe
            return dataclasses.replace(breaker, probe_until=None)
        case BreakerState.CLOSED if tally.limited_until:  # when the wait is over, not all may come at once
            return dataclasses.replace(_count(breaker, tally, now), places=PLACES_AFTER_PROBE)
        case BreakerState.CLOSED:
            return _count(breaker, tally, now)
    return breaker


def _limit(breaker: Snapshot, tally: Tally, now: dt.datetime) -> Snapshot:
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
    if limit + 1 >= PLACES_FULL:
        return dataclasses.replace(breaker, call_limit=None, call_limit_until=None)
    return dataclasses.replace(breaker, call_limit=limit + 1, call_limit_until=now + LIMIT_RAISED)


def _count(breaker: Snapshot, tally: Tally, now: dt.datetime) -> Snapshot:
    """A closed breaker counts only from the first fault on, so that good times cost no write."""
    if breaker.places is not None:
        return _recover(breaker, breaker.places, tally, now)
    if breaker.window_started_at and now - breaker.window_started_at > WINDOW:
        breaker = dataclasses.replace(breaker, window_started_at=None, window_calls=0, window_faults=0)
    if not tally.faults and breaker.window_started_at is None:
        return breaker
    breaker = dataclasses.replace(
        breaker,
        window_started_at=breaker.window_started_at or now,
        window_calls=breaker.window_calls + tally.answered + tally.faults,
        window_faults=breaker.window_faults + tally.faults,
    )
    if breaker.window_faults >= FAULT_LIMIT and breaker.window_faults >= FAULT_SHARE * breaker.window_calls:
        return _open(breaker, now)
    return breaker


def _recover(breaker: Snapshot, places: int, tally: Tally, now: dt.datetime) -> Snapshot:
    """After a good probe. One fault proves nothing: an account that fails now and then would never get well again."""
    calls = breaker.window_calls + tally.answered + tally.faults
    faults = breaker.window_faults + tally.faults
    if faults >= FAULT_LIMIT_RECOVERING and faults >= FAULT_SHARE * calls:
        return _open(breaker, now)
    if tally.answered <= tally.faults:
        return dataclasses.replace(breaker, window_calls=calls, window_faults=faults)
    if places * 2 >= PLACES_FULL:
        return dataclasses.replace(breaker, places=None, trips=0, window_calls=0, window_faults=0)
    return dataclasses.replace(breaker, places=places * 2, trips=0, window_calls=calls, window_faults=faults)


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
        places=None,
    )


def _close(breaker: Snapshot) -> Snapshot:
    return dataclasses.replace(
        breaker,
        state=BreakerState.CLOSED,
        epoch=breaker.epoch + 1,
        window_started_at=None,
        window_calls=0,
        window_faults=0,
        opened_at=None,
        open_until=None,
        probe_until=None,
        places=PLACES_AFTER_PROBE,
    )


def describe(breaker: Snapshot, now: dt.datetime) -> str:
    """What the breaker does now, in words: "1 fault of 5", "probe in 26 s"."""
    if breaker.mode != BreakerMode.AUTO:
        return BreakerMode(breaker.mode).label
    if breaker.state == BreakerState.OPEN and breaker.open_until:
        wait = (breaker.open_until - now).total_seconds()
        return f"probe in {durations.words(wait)}" if wait > 0 else "probe with the next mail"
    if breaker.state == BreakerState.HALF_OPEN:
        under_way = breaker.probe_until is not None and breaker.probe_until > now
        return "one probe under way" if under_way else "probe with the next mail"
    if breaker.places is not None:
        return f"recovering, {breaker.places} calls at once"
    if breaker.call_limit is not None and not breaker.window_faults:
        return _limit_in_words(breaker.call_limit)
    if breaker.window_faults and breaker.window_started_at and now - breaker.window_started_at <= WINDOW:
        faults = f"{breaker.window_faults} fault{'s' if breaker.window_faults > 1 else ''}"
        return f"{faults} {f'in {breaker.window_calls} calls' if breaker.window_faults >= FAULT_LIMIT else f'of {FAULT_LIMIT}'}"
    return "no faults"


def save(before: Snapshot, after: Snapshot, *, by: str, with_history: bool = True) -> bool:
    """Write what was decided; False if another process was faster.

    With a line of history if the state changed, unless the caller writes a better one.
    """
    changed = {name: getattr(after, name) for name in _FIELDS if getattr(after, name) != getattr(before, name)}
    if not changed:
        return True
    with transaction.atomic():
        rows = Breaker.objects.filter(account_id=before.account_id, version=before.version)
        if rows.update(**changed, version=F("version") + 1) != 1:
            return False
        if with_history and after.state != before.state and after.state != BreakerState.HALF_OPEN:
            account = Account.objects.get(pk=before.account_id)
            history.record(account, by=by, what=_told(before, after), state=after.state)
    return True


def change(account_id: int, decide: Callable[[Snapshot], Snapshot], *, by: str, with_history: bool = True) -> Snapshot:
    """Load the row, decide, and write; again if another process was faster. Returns what was written.

    Raises Breaker.DoesNotExist if the account is gone. Each turn that loses means that another one won, so the loop ends.
    """
    while True:
        before = Snapshot.of(Breaker.objects.get(account_id=account_id))
        after = decide(before)
        if save(before, after, by=by, with_history=with_history):
            return after


def force(account_name: str, mode: BreakerMode, *, by: str, why: str = "") -> None:
    """Open or close a breaker by hand, or give it back to its arithmetic (`AUTO`), with a line of history.

    Raises Account.DoesNotExist. Results of calls already under way no longer count.
    """
    account = Account.objects.get(name=account_name)

    def forced(breaker: Snapshot) -> Snapshot:
        fresh = _close(breaker)
        return dataclasses.replace(
            fresh, mode=mode, trips=0, places=None, limited_until=None, call_limit=None, call_limit_until=None
        )

    with transaction.atomic():
        change(account.pk, forced, by=by, with_history=False)
        # Whoever chose the account before this is committed chooses again. After the breaker: claims lock in that order.
        Account.objects.filter(pk=account.pk).update(updated_at=timezone.now())
        words = BreakerMode(mode).label.lower() if mode != BreakerMode.AUTO else "back to automatic"
        state = BreakerState.OPEN if mode == BreakerMode.OPEN else BreakerState.CLOSED
        history.record(account, by=by, what=with_note(words, why), state=state, act=Act.CHANGE)


def probe_now(account_name: str, *, by: str) -> None:
    """Let an open breaker be probed with the next mail, with a line of history; nothing if it is not open.

    Raises Account.DoesNotExist.
    """
    account = Account.objects.get(name=account_name)
    now = database_clock.now()

    def due(breaker: Snapshot) -> Snapshot:
        if breaker.mode != BreakerMode.AUTO or breaker.state != BreakerState.OPEN:
            return breaker
        return dataclasses.replace(breaker, open_until=now)

    with transaction.atomic():
        change(account.pk, due, by=by)
        history.record(account, by=by, what="probe asked for", act=Act.CHANGE)


def with_note(what: str, why: str) -> str:
    """A line of history with what the person wrote who did it, as long as a line may be."""
    return f"{what}, “{why[: 196 - len(what)]}”" if why and len(what) < 196 else what[:200]


def _told(before: Snapshot, after: Snapshot) -> str:
    if after.state == BreakerState.CLOSED:
        return "probe answered, closed again" if before.state == BreakerState.HALF_OPEN else "closed"
    if before.state == BreakerState.HALF_OPEN:
        return f"probe failed, open again: {after.last_fault}"[:200]
    if before.places is not None:
        return f"failed while recovering, open again: {after.last_fault}"[:200]
    return f"{after.window_faults} faults in {after.window_calls} calls: {after.last_fault}"[:200]
