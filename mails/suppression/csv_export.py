"""The list as CSV, for people and for another installation: an import of it gives the same list."""

import csv
import datetime as dt
import io
from collections.abc import Iterable, Iterator

from django.db.models import QuerySet

from mails.models import Suppression
from mails.suppression.csv_columns import COLUMNS
from mercury.lib.spreadsheets import escape_formula

CHUNK = 2000  # entries read at a time; no cursor and no transaction stays open while a client is slow


def export(suppressions: QuerySet[Suppression]) -> Iterator[str]:
    """Yield the CSV of these entries, in parts, the oldest entry first. A query for each part."""
    yield _format([COLUMNS])
    last = 0
    while page := list(suppressions.filter(pk__gt=last).order_by("pk")[:CHUNK]):
        yield _format(tuple(map(escape_formula, _list_cells(entry))) for entry in page)
        last = page[-1].pk


def _list_cells(entry: Suppression) -> tuple[str, ...]:
    return (
        entry.address,
        entry.scope,
        entry.reason,
        entry.detail,
        entry.source,
        _format_time(entry.created_at),
        _format_time(entry.expires_at),
        str(entry.mail_id or ""),
    )


def _format_time(moment: dt.datetime | None) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z" if moment else ""


def _format(rows: Iterable[tuple[str, ...]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()
