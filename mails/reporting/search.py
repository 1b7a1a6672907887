"""Search words, and the named states and ages that lists filter by; used by pages, the admin and the `mails` command."""

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
from django.db.models.functions import Now

from mails.models import Mail, MailLabel, Recipient, first_id, moment_of
from mails.models.querysets import MailQuerySet
from mails.reporting import systemic_refusals
from mails.states import LEASED, HoldReason, Source, Status
from mercury.lib.mail.printable import replace_unprintable

# The states a list filters by, in the order people read them: name -> (label, condition).
STATES: dict[str, tuple[str, Q]] = {
    "queued": ("Queued", Q(status=Status.QUEUED) & (Q(send_at=None) | Q(send_at__lte=Now()))),
    "scheduled": ("Scheduled", Q(status=Status.QUEUED, send_at__gt=Now())),
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

HELP = "Search recipient, sender, subject or id. Filters: to:zeus@ from:billing provider:mailgun-eu reason:550 is:scheduled"


# A search that no index serves reads the emails themselves, newest first: REACH of them, or FAR on request. A hundred
# thousand cost some 50 ms, a million half a second, however many emails there are.
REACH, FAR = 100_000, 1_000_000
_BY_INDEX = ("id", "before", "after", "tag")
MOST_WORDS = 10  # each is a condition on every row that is read


class UnknownSearchWord(ValueError):
    """Search does not know the prefix or cannot read the value; the text lists the known ones."""


def narrow(mails: MailQuerySet, text: str) -> MailQuerySet:
    """Return the emails that match every word of `text`: plain words, or `prefix:value` for one field.

    Raises UnknownSearchWord, naming what it knows.
    """
    if replace_unprintable(text) != text:
        raise UnknownSearchWord(
            "The search contains a character that no email can have, such as NUL. Type the words again."
        )
    words = text.split()
    if len(words) > MOST_WORDS:
        raise UnknownSearchWord(f"The search has {len(words)} words; write at most {MOST_WORDS}.")
    for word in words:
        mails = mails.filter(_parse_word(word))
    return mails


def _parse_word(word: str) -> Q:
    match = re.fullmatch(r"([a-z_]+):(.*)", word, re.IGNORECASE)
    if match is None:
        return _match_anywhere(word)
    prefix, value = match[1].lower(), match[2]
    if prefix not in WORDS:
        known = " ".join(f"{name}:" for name in WORDS)
        raise UnknownSearchWord(f"“{prefix}:” is not a search filter. Known: {known}")
    if not value:
        raise UnknownSearchWord(f"“{prefix}:” needs a value right after the colon.")
    return WORDS[prefix](value)


def _needs_scan(word: str) -> bool:
    """Return True if no index serves this word, so that each email has to be read."""
    prefix, colon, value = word.lower().partition(":")
    if colon and prefix == "to":
        return not _is_mailbox(value)
    return not (colon and prefix in _BY_INDEX)


def _is_mailbox(value: str) -> bool:
    return value.find("@") > 0


def _match_recipient(value: str) -> Q:
    """Match emails to an address that begins with `value`, if that names a mailbox (`hera@…`), by an index; else containing it.

    The latter uses the column of the email: a joined table would be read as a whole, however few emails match.
    """
    if not _is_mailbox(value):
        return Q(recipient__icontains=value)
    found = Q(address__startswith=value) | Q(address__startswith=value.lower())
    return Q(Exists(Recipient.objects.filter(found, mail=OuterRef("pk"))))


def _match_application(value: str) -> Q:
    return Q(api_key__name__icontains=value) | Q(user__username__iexact=value)


def _match_tag(value: str) -> Q:
    return Q(pk__in=MailLabel.objects.filter(name="", value=value).order_by().values("mail"))


def _match_id(value: str) -> Q:
    """Match emails whose id begins with `value`: a range of the primary key."""
    digits = value.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise UnknownSearchWord(
            f"“{value}” is not the beginning of an id: write hexadecimal digits, with or without dashes."
        )
    return Q(pk__gte=uuid.UUID(digits.ljust(32, "0")), pk__lte=uuid.UUID(digits.ljust(32, "f")))


def _match_before(value: str) -> Q:
    return Q(pk__lt=first_id(_parse_moment(value)))


def _match_after(value: str) -> Q:
    return Q(pk__gte=first_id(_parse_moment(value)))


def _parse_moment(value: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise UnknownSearchWord(
            f"“{value}” is not a time. Write 2026-11-24 or 2026-11-24T12:00 (UTC unless it names a zone)."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _match_anywhere(word: str) -> Q:
    found = Q(sender__icontains=word) | Q(subject__icontains=word) | Q(recipient__icontains=word)
    return found | _match_id(word) if re.fullmatch(r"[0-9a-f]{8}[0-9a-f-]{0,28}", word.lower()) else found


def _match_is(value: str) -> Q:
    if value.lower() not in STATES:
        raise UnknownSearchWord(f"“is:{value}” is not a state. Known: {' '.join(STATES)}")
    return STATES[value.lower()][1]


WORDS: dict[str, Callable[[str], Q]] = {
    "to": _match_recipient,
    "from": lambda value: Q(sender__icontains=value),
    "subject": lambda value: Q(subject__icontains=value),
    "provider": lambda value: Q(provider__iexact=value),
    "reason": lambda value: Q(reason_code__icontains=value),
    "id": _match_id,
    "refusals": systemic_refusals.match_discarded,
    "app": _match_application,
    "tag": _match_tag,
    "is": _match_is,
    "before": _match_before,
    "after": _match_after,
}


def filter_since(mails: MailQuerySet, age: dt.timedelta, now: dt.datetime) -> MailQuerySet:
    """Return the emails received within `age` before `now`; a range of the primary key."""
    return mails.filter(pk__gte=first_id(now - age))


@dataclass(frozen=True, slots=True, kw_only=True)
class MailListFilter:
    """The filters of the operators' list, under the names that its URL has."""

    q: str = ""
    state: str = ""
    account: str = ""  # "-": none yet
    queue: str = ""
    app: str = ""  # an API key's number, or the source: `form`, `command`
    age: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> MailListFilter:
        """Return the filter of a URL's query."""
        return cls(**{name: query.get(name, "").strip() for name in cls.__dataclass_fields__})

    def as_query(self) -> str:
        """Return the query that `from_query` reads."""
        return urlencode({name: value for name, value in asdict(self).items() if value})

    def narrow(self, mails: MailQuerySet, now: dt.datetime) -> MailQuerySet:
        """Return the emails that match; none if a value is invalid. Raises UnknownSearchWord."""
        values = (self.state, self.account, self.queue, self.app, self.age)
        if any(replace_unprintable(value) != value for value in values):
            return mails.none()
        for value, condition in zip(values, (_match_state, _match_account, _match_queue, _match_app), strict=False):
            if value:
                mails = mails.filter(condition(value))
        if self.age:
            mails = filter_since(mails, AGES[self.age][1], now) if self.age in AGES else mails.none()
        return narrow(mails, self.q)


_NONE = Q(pk__in=())


def _match_state(value: str) -> Q:
    return STATES[value][1] if value in STATES else _NONE


def _match_account(value: str) -> Q:
    return Q(provider="" if value == "-" else value)


def _match_queue(value: str) -> Q:
    return Q(queue=value)


def _match_app(value: str) -> Q:
    if value.isascii() and value.isdigit() and len(value) < 19:
        return Q(api_key_id=int(value))
    return Q(source=value) if value in (Source.FORM, Source.COMMAND) else _NONE


def format_count(mails: MailQuerySet, bound: int) -> str:
    """Return how many emails there are, reading at most `bound` of them: `1,840` or `10,000+`."""
    count = mails.order_by()[: bound + 1].count()
    return f"{bound:,}+" if count > bound else f"{count:,}"


def format_estimate(mails: MailQuerySet, at_least: int = 0) -> str:
    """Return an estimate from the database's own statistics: `≈ 1,200,000`; empty if it keeps none.

    Reads no email.
    """
    if "JSON" not in connection.features.supported_explain_formats:
        return ""
    rows = max(at_least, int(json.loads(mails.order_by().explain(format="json"))[0]["Plan"]["Plan Rows"]))
    return f"≈ {round(rows, 2 - len(str(rows))):,}"


def format_rough_count(mails: MailQuerySet, bound: int) -> str:
    """Return how many emails there are: exact up to `bound`, above that an estimate, or `10,000+` if there is none."""
    count = format_count(mails, bound)
    return (format_estimate(mails, at_least=bound) if count.endswith("+") else "") or count


@dataclass(frozen=True, slots=True, kw_only=True)
class MailPage:
    """One page of a list, newest first. `newer` and `older`: where the neighbouring pages begin, if there are any."""

    mails: list[Mail]
    newer: uuid.UUID | None
    older: uuid.UUID | None
    stopped_at: dt.datetime | None = (
        None  # a search stopped at emails of this time, and there are more in its direction
    )
    reach: int = 0  # how many it read

    @property
    def reach_words(self) -> str:
        """`reach` for people."""
        return f"{self.reach:,}"

    @property
    def looked_back(self) -> bool:
        """True if the emails that a search did not read are older ones."""
        return self.stopped_at is not None and self.older is not None


def load_page(
    mails: MailQuerySet, words: str = "", *, before: str = "", after: str = "", far: bool = False, size: int = 50
) -> MailPage:
    """Load a page of the emails that match, older than `before` or newer than `after` (ids); else the first page.

    Costs the same at any depth: reads `size` + 1 rows along the primary key and counts nothing. Words that no index serves
    are searched in the next REACH emails only, with `far` in the next FAR. Raises UnknownSearchWord.
    """
    found = narrow(mails, words)
    reach = (FAR if far else REACH) if any(map(_needs_scan, words.split())) else 0
    oldest, newest = _parse_uuid(before), _parse_uuid(after)
    if newest is not None:
        ahead, order = Q(pk__gt=newest), "pk"
    else:
        ahead, order = (Q(pk__lt=oldest) if oldest else Q()), "-pk"
    edge = _find_edge(mails.filter(ahead).order_by(order), reach) if reach else None
    if edge is not None:
        ahead &= Q(pk__lte=edge) if order == "pk" else Q(pk__gte=edge)
    rows = list(found.filter(ahead).order_by(order)[: size + 1])
    more, rows = len(rows) > size, rows[:size]
    follows = rows[-1].pk if more else edge
    stopped_at = moment_of(edge) if edge is not None and not more else None
    if order == "pk":
        rows = rows[::-1]
        return MailPage(
            mails=rows, newer=follows, older=rows[-1].pk if rows else None, stopped_at=stopped_at, reach=reach
        )
    return MailPage(
        mails=rows, newer=rows[0].pk if oldest and rows else None, older=follows, stopped_at=stopped_at, reach=reach
    )


def _find_edge(mails: MailQuerySet, reach: int) -> uuid.UUID | None:
    """Return the last of the first `reach` emails; None if there are no more than these."""
    ids = list(mails.values_list("pk", flat=True)[reach - 1 : reach + 1])
    return ids[0] if len(ids) > 1 else None


def _parse_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
