"""How much an account may send now: its quotas, what it sent already, and the time. Pure.

A day's quota is free when the provider's day begins. A monthly quota may be spread: each day gets an equal share of what
is left of the month. A warm-up also spreads a day: each hour adds its part, since a burst is what a new account must avoid.
"""

import datetime as dt
from dataclasses import dataclass, replace

from mercury.lib.durations import format_moment
from providers.quotas.rules import QuotaRules

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """What an account has sent in the provider's day and month that began last. `month`: its first day."""

    day: dt.date | None = None
    day_used: int = 0
    month: dt.date | None = None
    month_used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimit:
    """One limit. `left`: what it still allows now, `total` of its whole period; `free_at`: when it allows more."""

    words: str
    total: int
    left: int
    free_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What an account may send at one moment. `counts_recipients`: its provider counts these, not messages."""

    rules: QuotaRules
    use: QuotaUse  # of the day and month at `now`
    now: dt.datetime
    counts_recipients: bool
    limits: tuple[QuotaLimit, ...]

    @property
    def left(self) -> int:
        """Return how much it may send now."""
        return max(0, min(limit.left for limit in self.limits)) if self.limits else MORE_THAN_ANY

    @property
    def allowed_today(self) -> int | None:
        """Return how much it may send in the whole day; None without a limit."""
        limits = _list_limits(self.rules, self.use, self.now, is_whole_day=True)
        return max(0, min(limit.left for limit in limits) + self.use.day_used) if limits else None

    def count(self, recipients: int) -> int:
        """Return what an email to this number of recipients costs."""
        return recipients if self.counts_recipients else 1

    def take(self, units: int) -> "Allowance":
        """Return the allowance after this much was sent."""
        use = replace(self.use, day_used=self.use.day_used + units, month_used=self.use.month_used + units)
        limits = tuple(replace(limit, left=limit.left - units) for limit in self.limits)
        return replace(self, use=use, limits=limits)

    def explain_shortage(self, units: int) -> tuple[str, dt.datetime]:
        """Return why it may not send this much now, and when it may: the limit that lasts longest. It is more than is left."""
        limits = _list_limits(self.rules, self.use, self.now, wanted=units)
        limit = max((limit for limit in limits if limit.left < units), key=lambda limit: limit.free_at)
        if limit.left > 0:
            words = f"{limit.words}: {limit.left:,} left, and the email has {units:,} recipients"
        else:
            words = f"{limit.words} reached"
        return f"{words}; next at {format_moment(limit.free_at, self.now)}", limit.free_at


MORE_THAN_ANY = 1_000_000_000


def measure(rules: QuotaRules, use: QuotaUse, now: dt.datetime, *, counts_recipients: bool) -> Allowance:
    """Return what the account may send now."""
    use = roll(rules, use, now)
    return Allowance(
        rules=rules, use=use, now=now, counts_recipients=counts_recipients, limits=_list_limits(rules, use, now)
    )


def roll(rules: QuotaRules, use: QuotaUse, now: dt.datetime) -> QuotaUse:
    """Return the use in the day and month of `now`. A clock that goes back begins nothing: what was counted stays counted."""
    day = rules.get_day(now)
    if use.day is None or use.day < day:
        use = replace(use, day=day, day_used=0)
    month = rules.get_month(use.day or day)
    if use.month is None or use.month < month:
        use = replace(use, month=month, month_used=use.day_used)
    return use


def give_back(rules: QuotaRules, use: QuotaUse, units: int, *, began_at: dt.datetime) -> QuotaUse:
    """Return the use without what was reserved at `began_at` and surely not sent; nothing where that day or month is over."""
    day = rules.get_day(began_at)
    if use.day == day:
        use = replace(use, day_used=max(0, use.day_used - units))
    if use.month == rules.get_month(day):
        use = replace(use, month_used=max(0, use.month_used - units))
    return use


def _list_limits(
    rules: QuotaRules, use: QuotaUse, now: dt.datetime, *, wanted: int = 1, is_whole_day: bool = False
) -> tuple[QuotaLimit, ...]:
    """Return the limits of the day and month of `use`. `is_whole_day`: not only of its hours until now."""
    assert use.day is not None and use.month is not None  # noqa: S101, PT018 (it was rolled)
    tomorrow, next_month = use.day + DAY, rules.get_next_month(use.month)
    limits = []
    if rules.monthly is not None:
        words = f"monthly quota {rules.monthly:,}"
        limits.append(_build(words, rules.monthly, use.month_used, rules.begin(next_month)))
    if rules.daily is not None:
        words = f"daily quota {rules.daily:,}"
        limits.append(_build(words, rules.daily, use.day_used, rules.begin(tomorrow)))
    if rules.monthly is not None and rules.is_spread:
        rest = max(0, rules.monthly - max(0, use.month_used - use.day_used))
        share = -(-rest // max(1, (next_month - use.day).days))
        words = f"today's share {share:,} of the monthly quota {rules.monthly:,}"
        limits.append(_build(words, share, use.day_used, rules.begin(tomorrow)))
    step = rules.warm_up.find_step(use.day) if rules.warm_up else None
    if step is not None:
        limits.append(_warm_up(rules, use, step, now, wanted=wanted, is_whole_day=is_whole_day))
    return tuple(limits)


def _build(words: str, total: int, used: int, free_at: dt.datetime) -> QuotaLimit:
    return QuotaLimit(words=words, total=total, left=total - used, free_at=free_at)


def _warm_up(
    rules: QuotaRules, use: QuotaUse, step: int, now: dt.datetime, *, wanted: int, is_whole_day: bool
) -> QuotaLimit:
    """Return the limit of a day of the ramp: each of its hours adds an equal part, rounded up."""
    assert rules.warm_up is not None and use.day is not None  # noqa: S101, PT018 (the caller looked)
    begin, end = rules.begin(use.day), rules.begin(use.day + DAY)
    if step == 0:
        start = rules.begin(rules.warm_up.start)
        return QuotaLimit(words=f"warm-up from {rules.warm_up.start} on: limit 0", total=0, left=0, free_at=start)
    hours = (end - begin) // HOUR  # 23 or 25 where clocks are changed
    hour = hours - 1 if is_whole_day else min(max((now - begin) // HOUR, 0), hours - 1)
    number = (use.day - rules.warm_up.start).days + 1
    free_at = next(
        (
            begin + later * HOUR
            for later in range(hour + 1, hours)
            if _add_up(step, later, hours) >= use.day_used + wanted
        ),
        end,
    )
    words = f"warm-up day {number}, {_add_up(step, hour, hours):,} of {step:,} emails by this hour"
    return QuotaLimit(words=words, total=step, left=_add_up(step, hour, hours) - use.day_used, free_at=free_at)


def _add_up(step: int, hour: int, hours: int) -> int:
    """Return how much of a day's step is allowed by the end of this hour, counted from 0."""
    return -(-step * (hour + 1) // hours)
