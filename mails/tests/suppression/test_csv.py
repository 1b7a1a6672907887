"""CSV in and out: a round trip gives the same list, a bad line stores nothing, and a killed import can be repeated."""

import datetime as dt
import io
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mails.models import Suppression
from mails.states import SuppressionReason
from mails.suppression import csv_export, csv_import, entries, rules
from mails.suppression.csv_import import ImportReport
from mails.suppression.rules import NewEntry
from mails.tests.builders import HERA, IRIS
from mercury.lib.audit.models import AuditEntry
from mercury.lib.spreadsheets import escape_formula, restore_formula

pytestmark = pytest.mark.django_db
MANY = "address,scope,reason,detail,since,expires,mail\n"


def load(text: str | bytes, **options: Any) -> ImportReport:
    content = text.encode() if isinstance(text, str) else text
    return csv_import.import_csv(io.BytesIO(content), **{"source": "user:hermes"} | options)


def listed() -> list[tuple[Any, ...]]:
    names = ("address", "scope", "reason", "detail", "created_at", "expires_at", "mail_id")
    return list(Suppression.objects.order_by("address", "scope").values_list(*names))


def export() -> str:
    return "".join(csv_export.export(Suppression.objects.all()))


def test_an_import_reports_what_it_did_and_a_repeat_changes_nothing() -> None:
    text = f"address,reason\n{HERA},complaint\n{IRIS},\n{HERA.upper()},complaint\n"
    report = load(text)
    assert (report.rows, report.added, report.updated, report.skipped) == (3, 2, 0, 1)
    before = listed()
    report = load(text)
    assert (report.added, report.updated, report.skipped) == (0, 0, 3)
    assert listed() == before
    assert AuditEntry.objects.filter(name="CSV import", detail__startswith="ended").count() == 2


def test_a_dry_run_says_the_same_and_stores_nothing() -> None:
    entries.put([NewEntry(HERA)], source="user:hermes")
    text = f"address,reason\n{HERA},complaint\n{IRIS},\n{IRIS},\n"
    said = load(text, dry_run=True)
    assert Suppression.objects.count() == 1
    assert said.as_document() == load(text).as_document()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_of_spreadsheets_are_read(delimiter: str, mark: str) -> None:
    cells = [["Address", "Detail"], [HERA, '"He said ""no"""'], ["ära@olimpus.com", '"two\r\nlines"'], []]
    text = mark + "\r\n".join(delimiter.join(row) for row in cells)
    assert load(text).added == 2
    assert Suppression.objects.get(address="ära@olimpus.com").detail == "two lines"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 1, "no column 'address'"),
        (b"email\nhera@olimpus.com\n", 1, "no column 'address'"),
        (b"address,colour\n", 1, "no such column"),
        (b"address,address\n", 1, "twice"),
        (f"address\n{HERA}\n*\n".encode(), 3, "everybody"),
        (f"address\n{HERA}\n@olimpus.com\n".encode(), 3, "whole domain"),
        (f"address\n{HERA}\n{HERA},x\n".encode(), 3, "cells"),
        (f"address,reason\n{HERA},bored\n".encode(), 2, "hard-bounce"),
        (f"address,expires\n{HERA},soon\n".encode(), 2, "2026-01-31"),
        ("address,detail\nhera@olimpus.com,müde\n".encode("latin-1"), 2, "CSV UTF-8"),
        ("address\nhera@olimpus.com\n".encode("utf-16"), 1, "CSV UTF-8"),
        (b"address\nhera\x00@olimpus.com\n", 2, "NUL"),
        (b'address\n"hera@olimpus.com\n', 2, "quote"),
        (b"address\n" + b"x" * 70_000, 2, "65536"),
        (b"\x89PNG\r\n\x1a\n", 1, "CSV UTF-8"),
    ],
)
def test_a_bad_line_stores_nothing(content: bytes, line: int, words: str) -> None:
    report = load(content)
    assert (report.added, report.invalid) == (0, 1)
    assert report.errors[0].line == line
    assert words in str(report.errors[0])
    assert not Suppression.objects.exists()


def test_all_bad_lines_are_counted_and_the_first_are_named() -> None:
    report = load("address\n" + "*\n" * 50)
    assert (report.invalid, len(report.errors)) == (50, csv_import.ERRORS_SHOWN)


def test_a_scope_that_the_client_may_not_use_is_an_error() -> None:
    report = load(f"address,scope\n{HERA},hades.com\n", may_use_scope=lambda scope: scope == "olimpus.com")
    assert report.errors[0].column == "scope"


def test_an_import_that_dies_between_batches_is_finished_by_the_same_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_import, "BATCH", 2)
    text = "address\n" + "".join(f"iris{number}@olimpus.com\n" for number in range(7))

    def die(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(text, on_progress=die)
    assert Suppression.objects.count() == 4
    assert [act.detail for act in AuditEntry.objects.filter(name="CSV import")] == ["begins: 7 rows"]
    report = load(text)
    assert (report.added, report.skipped, Suppression.objects.count()) == (3, 4, 7)


_LOCAL = st.text(st.sampled_from("=+-'aä"), min_size=1, max_size=6)
_ENTRIES = st.lists(
    st.builds(
        NewEntry,
        address=st.builds("{}@olimpus.com".format, _LOCAL),
        scope=st.sampled_from(["", "olimpus.com"]),
        reason=st.sampled_from(SuppressionReason.values),
        detail=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=20).map(
            rules.clean_detail
        ),
        since=st.none(),
        expires_at=st.sampled_from([None, dt.datetime(2090, 1, 31, 8, 30, 1, 5, dt.UTC)]),
        mail_id=st.sampled_from([None, uuid.UUID(int=7)]),
    ),
    max_size=5,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ENTRIES)
def test_an_exported_list_can_be_imported_as_it_is(new: list[NewEntry]) -> None:
    Suppression.objects.all().delete()
    entries.put(new, source="user:hermes")
    text, before = export(), listed()
    assert load(text).added == 0
    Suppression.objects.all().delete()
    assert load(text).added == len(before)
    assert listed() == before


@given(st.text(st.sampled_from("'=+-@; a＝"), max_size=12))
def test_an_escaped_cell_is_no_formula_and_comes_back_as_it_was(cell: str) -> None:
    escaped = escape_formula(cell)
    assert not any(part.lstrip(" ").startswith(tuple("=+-@＝")) for part in escaped.split(";"))
    assert restore_formula(escaped) == cell


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.builds(lambda text: MANY.encode() + text.encode(), st.text(max_size=60)))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    report = load(content, dry_run=True)
    assert report.invalid == 0 or report.errors
