"""The quotas of an account: how much it may send in a day and in a month, and when these begin. Pure."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from providers.quotas.warm_up import WarmUp, parse_warm_up

MAX_QUOTA = 1_000_000_000
MAX_MONTH_DAY = 28  # a day that every month has
FIELDS = ("daily_quota", "monthly_quota", "quota_spread", "quota_zone", "quota_month_day", "warm_up")


class QuotaInvalid(Exception):
    """The values make no quotas. `errors` says for each field what is wrong, and what to do."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {problem}" for name, problem in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRules:
    """What an account may send. `spread`: None means on where a monthly quota is the only one."""

    daily: int | None = None
    monthly: int | None = None
    spread: bool | None = None
    zone: str = "UTC"  # in which the provider's day begins
    month_day: int = 1  # on which its month begins
    warm_up: WarmUp | None = None

    @property
    def has_any(self) -> bool:
        """Return True if anything limits the account, now or at another time."""
        return self.daily is not None or self.monthly is not None or self.warm_up is not None

    @property
    def is_spread(self) -> bool:
        """Return True if each day gets an equal share of what is left of the month."""
        return self.monthly is not None and (self.daily is None if self.spread is None else self.spread)

    def get_day(self, moment: dt.datetime) -> dt.date:
        """Return the provider's day at this moment."""
        return moment.astimezone(_load_zone(self.zone)).date()

    def get_month(self, day: dt.date) -> dt.date:
        """Return the first day of the provider's month that has this day."""
        if day.day >= self.month_day:
            return day.replace(day=self.month_day)
        return (day.replace(day=1) - dt.timedelta(days=1)).replace(day=self.month_day)

    def get_next_month(self, month: dt.date) -> dt.date:
        """Return the first day of the month after the one that begins on this day."""
        return (month.replace(day=1) + dt.timedelta(days=31)).replace(day=self.month_day)

    def begin(self, day: dt.date) -> dt.datetime:
        """Return the moment at which the provider's day begins, in UTC."""
        return dt.datetime.combine(day, dt.time.min, tzinfo=_load_zone(self.zone)).astimezone(dt.UTC)

    def find_warnings(self) -> Iterator[str]:
        """Yield what is allowed and hardly meant, each with a remedy."""
        if self.daily is not None and self.monthly is not None and self.daily > self.monthly:
            yield (
                f"The daily quota {self.daily:,} is larger than the monthly quota {self.monthly:,}, so it never counts. "
                "Lower it, or remove it."
            )
        if self.spread and self.monthly is None:
            yield "A spread needs a monthly quota, and there is none. Set one, or leave the spread empty."


NO_QUOTA = QuotaRules()


@lru_cache(maxsize=64)
def _load_zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def build_rules(values: Mapping[str, Any]) -> QuotaRules:
    """Return the quotas that these values of `FIELDS` make; one that is absent has its default. Raises QuotaInvalid."""
    errors = {
        **_check_number("daily_quota", values.get("daily_quota")),
        **_check_number("monthly_quota", values.get("monthly_quota")),
    }
    zone, month_day = values.get("quota_zone") or "UTC", values.get("quota_month_day")
    month_day = 1 if month_day is None else month_day
    if not _is_zone(zone):
        errors["quota_zone"] = "It is not the name of a time zone. Write one such as UTC or America/Los_Angeles."
    if not 1 <= month_day <= MAX_MONTH_DAY:
        errors["quota_month_day"] = f"It is the day on which the provider's month begins, from 1 to {MAX_MONTH_DAY}."
    warm_up = None
    try:
        warm_up = parse_warm_up(values.get("warm_up") or "")
    except ValueError as error:
        errors["warm_up"] = str(error)
    if errors:
        raise QuotaInvalid(errors)
    return QuotaRules(
        daily=values.get("daily_quota"),
        monthly=values.get("monthly_quota"),
        spread=values.get("quota_spread"),
        zone=zone,
        month_day=month_day,
        warm_up=warm_up,
    )


def list_values(rules: QuotaRules) -> dict[str, Any]:
    """Return the values of `FIELDS` that make these quotas."""
    return {
        "daily_quota": rules.daily,
        "monthly_quota": rules.monthly,
        "quota_spread": rules.spread,
        "quota_zone": rules.zone,
        "quota_month_day": rules.month_day,
        "warm_up": str(rules.warm_up or ""),
    }


def _check_number(name: str, number: int | None) -> dict[str, str]:
    if number is None or 1 <= number <= MAX_QUOTA:
        return {}
    words = f"A quota is a whole number from 1 to {MAX_QUOTA:,}; empty: no limit."
    remedy = " To send nothing through the account, disable it or give it the weight 0." if number == 0 else ""
    return {name: words + remedy}


def _is_zone(name: str) -> bool:
    try:
        _load_zone(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return False
    return True


def read_texts(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of `FIELDS` that these texts have, as a URL or a command gives them; an empty one or `none` is None.

    Raises ValueError, with the name and what to write.
    """
    values: dict[str, Any] = {}
    for name, text in texts.items():
        text = "" if text.strip().lower() == "none" else text.strip()
        if name in ("daily_quota", "monthly_quota", "quota_month_day"):
            values[name] = _read_number(name, text)
        elif name == "quota_spread":
            values[name] = _read_spread(text)
        else:
            values[name] = text
    return values


def _read_number(name: str, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f"{name}: it is a whole number, such as 500; empty: no limit.")
    return int(text)


def _read_spread(text: str) -> bool | None:
    known = {"": None, "auto": None, "1": True, "on": True, "true": True, "0": False, "off": False, "false": False}
    if text.lower() not in known:
        raise ValueError("quota_spread: it is on, off or auto (on where a monthly quota is the only one).")
    return known[text.lower()]
