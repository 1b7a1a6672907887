"""The words of search, and the named states and ages that lists narrow by; used by the pages, the admin and `mails`."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from django.db import connection
from django.db.models import Exists, OuterRef, Q

from mails.models import Mail, Recipient, first_id
from mails.querysets import MailQuerySet
from mails.sentences import clean
from mails.states import LEASED, HoldReason, Source, Status

# What a list may be narrowed to, in the order people read it: name -> (words, condition).
STATES: dict[str, tuple[str, Q]] = {
    "queued": ("Queued", Q(status=Status.QUEUED)),
    "sending": ("Sending", Q(status__in=LEASED)),
    "waiting": ("Waiting to retry", Q(status=Status.WAITING)),
    "unknown": ("Outcome unknown", Q(status=Status.HELD, reason_code=HoldReason.UNKNOWN)),
    "held": ("Held", Q(status=Status.HELD) & ~Q(reason_code=HoldReason.UNKNOWN)),
    "done": ("Sent", Q(status=Status.DONE)),
    "discarded": ("Discarded", Q(status=Status.DISCARDED)),
    "expired": ("Expired", Q(status=Status.EXPIRED)),
    "cancelled": ("Cancelled", Q(status=Status.CANCELLED)),
    "rejected": ("Rejected", Q(status=Status.REJECTED)),
}

AGES: dict[str, tuple[str, dt.timedelta]] = {
    "15m": ("Last 15 minutes", dt.timedelta(minutes=15)),
    "1h": ("Last hour", dt.timedelta(hours=1)),
    "24h": ("Last 24 hours", dt.timedelta(hours=24)),
    "7d": ("Last 7 days", dt.timedelta(days=7)),
}

HELP = "Words search recipient, sender, subject and id. Or narrow: to:zeus@ from:billing provider:mailgun-eu reason:550"


class UnknownSearchWord(ValueError):
    """A prefix that search does not know, or a value it cannot read; the text says which are known."""


def narrow(mails: MailQuerySet, text: str) -> MailQuerySet:
    """The mails of `mails` that every word of `text` fits: plain words, or `prefix:value` for one field.

    Raises UnknownSearchWord, naming what it knows.
    """
    if clean(text) != text:
        raise UnknownSearchWord("The search has a character that no mail can have, such as NUL. Type the words anew.")
    for word in text.split():
        mails = mails.filter(_condition(word))
    return mails


def _condition(word: str) -> Q:
    match = re.fullmatch(r"([a-z_]+):(.*)", word, re.IGNORECASE)
    if match is None:
        return _anywhere(word)
    prefix, value = match[1].lower(), match[2]
    if prefix not in WORDS:
        known = " ".join(f"{name}:" for name in WORDS)
        raise UnknownSearchWord(f"“{prefix}:” is not a word of search. Known: {known}")
    if not value:
        raise UnknownSearchWord(f"“{prefix}:” needs a value right behind the colon.")
    return WORDS[prefix](value)


def _to(value: str) -> Q:
    """Mails to an address that begins with `value`, if that names a mailbox (`hera@…`): by an index. Else that contains it."""
    found = Q(address__icontains=value)
    if value.find("@") > 0:
        found = Q(address__startswith=value) | Q(address__startswith=value.lower())
    return Q(Exists(Recipient.objects.filter(found, mail=OuterRef("pk"))))


def _application(value: str) -> Q:
    return Q(api_key__name__icontains=value) | Q(user__username__iexact=value)


def _id(value: str) -> Q:
    """Mails whose id begins with `value`: a range of the primary key, so that no row is read in vain."""
    digits = value.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise UnknownSearchWord(
            f"“{value}” is not the beginning of an id: write hexadecimal digits, with or without -."
        )
    return Q(pk__gte=uuid.UUID(digits.ljust(32, "0")), pk__lte=uuid.UUID(digits.ljust(32, "f")))


def _before(value: str) -> Q:
    return Q(pk__lt=first_id(_moment(value)))


def _after(value: str) -> Q:
    return Q(pk__gte=first_id(_moment(value)))


def _moment(value: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise UnknownSearchWord(
            f"“{value}” is not a time. Write 2026-11-24 or 2026-11-24T12:00 (UTC unless it names a zone)."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _anywhere(word: str) -> Q:
    found = Q(sender__icontains=word) | Q(subject__icontains=word) | _to(word)
    return found | _id(word) if re.fullmatch(r"[0-9a-f]{8}[0-9a-f-]{0,28}", word.lower()) else found


WORDS: dict[str, Callable[[str], Q]] = {
    "to": _to,
    "from": lambda value: Q(sender__icontains=value),
    "subject": lambda value: Q(subject__icontains=value),
    "provider": lambda value: Q(provider__iexact=value),
    "reason": lambda value: Q(reason_code__icontains=value),
    "id": _id,
    "app": _application,
    "before": _before,
    "after": _after,
}


def since(mails: MailQuerySet, age: dt.timedelta, now: dt.datetime) -> MailQuerySet:
    """The mails that came in within `age` before `now`; a range of the primary key."""
    return mails.filter(pk__gte=first_id(now - age))


@dataclass(frozen=True, slots=True)
class Filter:
    """What the operators' list is narrowed by, under the names that its URL has."""

    q: str = ""
    state: str = ""
    account: str = ""  # "-": none yet
    lane: str = ""
    app: str = ""  # an API key's number, or the door: `form`, `command`
    age: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """The filter that a URL's query asks for."""
        return cls(**{name: query.get(name, "").strip() for name in cls.__dataclass_fields__})

    def as_query(self) -> str:
        """The query that `of` reads."""
        return urlencode({name: value for name, value in asdict(self).items() if value})

    def narrow(self, mails: MailQuerySet, now: dt.datetime) -> MailQuerySet:
        """The mails of `mails` that fit; none if a value cannot be one. Raises UnknownSearchWord."""
        values = (self.state, self.account, self.lane, self.app, self.age)
        if any(clean(value) != value for value in values):
            return mails.none()
        for value, condition in zip(values, (_state, _account, _lane, _app), strict=False):
            if value:
                mails = mails.filter(condition(value))
        if self.age:
            mails = since(mails, AGES[self.age][1], now) if self.age in AGES else mails.none()
        return narrow(mails, self.q)


_NONE = Q(pk__in=())


def _state(value: str) -> Q:
    return STATES[value][1] if value in STATES else _NONE


def _account(value: str) -> Q:
    return Q(provider="" if value == "-" else value)


def _lane(value: str) -> Q:
    return Q(lane=value)


def _app(value: str) -> Q:
    if value.isascii() and value.isdigit() and len(value) < 19:
        return Q(api_key_id=int(value))
    return Q(source=value) if value in (Source.FORM, Source.COMMAND) else _NONE


def counted(mails: MailQuerySet, bound: int) -> str:
    """How many mails there are, in words; reads at most `bound` of them: `1,840` or `10,000+`."""
    count = mails.order_by()[: bound + 1].count()
    return f"{bound:,}+" if count > bound else f"{count:,}"


def estimated(mails: MailQuerySet, at_least: int = 0) -> str:
    """About how many mails there are, by the database's own statistics: `≈ 1,200,000`; empty where it keeps none.

    Reads no mail.
    """
    if "JSON" not in connection.features.supported_explain_formats:
        return ""
    rows = max(at_least, int(json.loads(mails.order_by().explain(format="json"))[0]["Plan"]["Plan Rows"]))
    return f"≈ {round(rows, 2 - len(str(rows))):,}"


def roughly(mails: MailQuerySet, bound: int) -> str:
    """How many mails there are: exact up to `bound`, above that an estimate, or `10,000+` where there is none."""
    count = counted(mails, bound)
    return (estimated(mails, at_least=bound) if count.endswith("+") else "") or count


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, newest first. `newer` and `older` are where the neighbouring pages begin, if there are any."""

    mails: list[Mail]
    newer: uuid.UUID | None
    older: uuid.UUID | None


def page(mails: MailQuerySet, *, before: str = "", after: str = "", size: int = 50) -> Page:
    """The page of mails older than `before`, or newer than `after` (ids); anything else gives the first page.

    Costs the same at any depth: it reads `size` + 1 rows along the primary key and counts nothing.
    """
    oldest, newest = _uuid(before), _uuid(after)
    if newest is not None:
        rows = list(mails.filter(pk__gt=newest).order_by("pk")[: size + 1])
        more, rows = len(rows) > size, rows[:size][::-1]
        return Page(rows, newer=rows[0].pk if more else None, older=rows[-1].pk if rows else None)
    rows = list((mails.filter(pk__lt=oldest) if oldest else mails).order_by("-pk")[: size + 1])
    more, rows = len(rows) > size, rows[:size]
    return Page(rows, newer=rows[0].pk if oldest and rows else None, older=rows[-1].pk if more else None)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
