"""The rules of an entry, one for all doors: API, admin, command and CSV give texts, and get an entry or what is wrong with them."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from mails.states import SuppressionReason
from mails.suppression import keys
from mercury.lib.mail import printable

MAX_DETAIL = 500  # characters
_EARLIEST, _LATEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9998, 1, 1, tzinfo=dt.UTC)
_REASONS = tuple(SuppressionReason.values)


class NewEntry(NamedTuple):
    """An entry to be stored, valid. A named tuple, since an import makes a million of them."""

    address: str
    scope: str = ""
    reason: str = SuppressionReason.MANUAL
    detail: str = ""
    since: dt.datetime | None = None  # None: now
    expires_at: dt.datetime | None = None  # None: never
    mail_id: uuid.UUID | None = None


class InvalidEntry(ValueError):
    """Texts that are no entry. `errors`: what is wrong with each field, and what to write instead."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {detail}" for field, detail in errors.items()))
        self.errors = errors


def parse(fields: Mapping[str, str]) -> NewEntry:
    """Return the entry that these texts are; an absent or blank one has its default. Raises InvalidEntry with all errors."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for field, (name, parse_field) in _FIELDS.items():
        text = fields.get(field, "").strip()
        if not text and field != "address":
            continue
        try:
            values[name] = parse_field(text)
        except ValueError as error:
            errors[field] = str(error)
    if errors:
        raise InvalidEntry(errors)
    return NewEntry(**values)


def parse_for_adding(fields: Mapping[str, str], now: dt.datetime) -> NewEntry:
    """Like `parse`, and refuse an entry that has expired: it would suppress nobody. Raises InvalidEntry."""
    entry = parse(fields)
    if entry.expires_at is not None and entry.expires_at <= now:
        raise InvalidEntry(
            {"expires": "It is in the past. Write a later time, or leave it empty for an entry without end."}
        )
    return entry


def _parse_address(text: str) -> str:
    if not text:
        raise ValueError("It is empty. Write one email address.")
    return keys.normalize(text)


def _parse_reason(text: str) -> str:
    if text not in _REASONS:
        raise ValueError(f"'{_show(text)}' is no reason. Write one of: {', '.join(_REASONS)}.")
    return text


def _parse_detail(text: str) -> str:
    if len(text) > MAX_DETAIL:
        raise ValueError(f"It has {len(text)} characters; at most {MAX_DETAIL} are allowed.")
    return clean_detail(text)


@lru_cache(maxsize=256)  # the rows of a list share their replies
def clean_detail(text: str) -> str:
    """Return the detail as it is stored: on one line, and without what cannot be shown."""
    return printable.replace_unprintable(" ".join(text.split()), allowed="")[:MAX_DETAIL]


def _parse_time(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
        moment = moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or not _EARLIEST <= moment <= _LATEST:
        raise ValueError(
            f"'{_show(text)}' is no time. Write 2026-01-31, or 2026-01-31T08:00:00Z (without a zone: UTC)."
        )
    return moment


def _parse_mail(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValueError(f"'{_show(text)}' is not the id of an email.") from None


def _show(text: str) -> str:
    return printable.replace_unprintable(text[:40], allowed="")


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "address": ("address", _parse_address),
    "scope": ("scope", keys.normalize_scope),
    "reason": ("reason", _parse_reason),
    "detail": ("detail", _parse_detail),
    "since": ("since", _parse_time),
    "expires": ("expires_at", _parse_time),
    "mail": ("mail_id", _parse_mail),
}
