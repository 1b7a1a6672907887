"""Import the list from CSV: read and check the whole file, then store it in batches.

A file with one invalid line is refused before anything is stored. An import that is killed has stored some batches: the
same file again stores the rest, and the list is the same as after one run. The audit log has its beginning, and no end. No
lock and no transaction lasts longer than a batch. Memory is bounded: the rows wait in a temporary file, which also finds
those that occur twice.
"""

import csv
import datetime as dt
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import structlog

from mails.suppression import entries, rules
from mails.suppression.csv_columns import COLUMNS, EXPORTED_ONLY, REQUIRED
from mails.suppression.entries import AUDIT_KIND, BATCH, Change
from mails.suppression.rules import InvalidEntry, NewEntry
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from mercury.lib.mail import printable
from mercury.lib.spreadsheets import restore_formula

log = structlog.get_logger(__name__)

ERRORS_SHOWN = 20
LINE_LIMIT = 64 * 1024  # bytes
_DELIMITERS = ",;\t"
_KNOWN = ", ".join(COLUMNS)
_READ = tuple(name for name in COLUMNS if name not in EXPORTED_ONLY)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_UTF8 = "The file is not UTF-8. In a spreadsheet, save it as 'CSV UTF-8'."


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    """What is wrong with a line, and what to write instead. `column`: empty for the whole line."""

    line: int
    column: str
    detail: str

    def __str__(self) -> str:
        place = f"line {self.line}, {self.column}" if self.column else f"line {self.line}"
        return f"{place}: {self.detail}"


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """What an import did, or would do. With an error, nothing was stored."""

    rows: int = 0
    added: int = 0
    updated: int = 0
    skipped: int = 0  # on the list as they are, repeated in the file, or expired
    invalid: int = 0  # lines with errors
    errors: list[LineError] = field(default_factory=list)  # the first ones

    def as_document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        counts = {name: getattr(self, name) for name in ("rows", "added", "updated", "skipped", "invalid")}
        errors = [{"line": error.line, "column": error.column, "detail": error.detail} for error in self.errors]
        return {**counts, "errors": errors}


class UnreadableFile(Exception):
    """A file that is no CSV of the list: nothing behind this line can be read."""

    def __init__(self, line: int, detail: str, *, column: str = "") -> None:
        super().__init__(detail)
        self.error = LineError(line=line, column=column, detail=detail)


def import_csv(
    file: BinaryIO,
    *,
    source: str,
    dry_run: bool = False,
    may_use_scope: Callable[[str], bool] = lambda scope: True,
    on_progress: Callable[[int], object] = lambda done: None,
) -> ImportReport:
    """Import a file, or with `dry_run` only say what would happen. `on_progress` gets the number of rows that are done.

    `may_use_scope`: False for a scope that its client may not change; such a line is an error.
    """
    report = ImportReport()
    with closing(_Spool()) as spool:
        try:
            _read(file, spool, report, may_use_scope)
        except UnreadableFile as unreadable:
            report.invalid += 1
            report.errors.append(unreadable.error)
        if report.invalid:
            return report
        if not dry_run:
            _record(f"begins: {report.rows} rows", source)
        counts = Counter({Change.SKIPPED: report.rows - spool.count()})
        for batch in spool.read_batches():
            counts += _compare(batch) if dry_run else entries.put(batch, source=source)
            on_progress(counts.total())
    report.added, report.updated, report.skipped = (counts[change] for change in Change)
    if not dry_run:
        done = f"{report.added} added, {report.updated} updated, {report.skipped} skipped"
        _record(f"ended: {done} of {report.rows} rows", source)
        log.info("suppressions_imported", by=source, added=report.added, updated=report.updated, skipped=report.skipped)
    return report


def _record(detail: str, source: str) -> None:
    """Write to the audit log. An import that is killed leaves its beginning there, and no end."""
    audit.record(Act.REGISTER, by=source, kind=AUDIT_KIND, name="CSV import", detail=detail)


def _compare(batch: Sequence[NewEntry]) -> Counter[Change]:
    """Return what storing these entries would do."""
    before, now = entries.load({(entry.address, entry.scope) for entry in batch}), database_clock.now()
    return Counter(entries.decide(before.get((entry.address, entry.scope)), entry, now) for entry in batch)


def _read(file: BinaryIO, spool: "_Spool", report: ImportReport, may_use_scope: Callable[[str], bool]) -> None:
    """Put the valid rows into the spool, and the errors of the others into the report. Raises UnreadableFile."""
    lines = _Lines(file)
    header, delimiter = _read_header(lines)
    for cells in _read_cells(lines, delimiter):
        if not any(map(str.strip, cells)):
            continue
        report.rows += 1
        if len(cells) != len(header):
            detail = f"It has {len(cells)} cells, and the header {len(header)}. Write one for each column; quote a cell with commas."
            _note(report, lines.number, {"": detail})
            continue
        try:
            entry = rules.parse(dict(zip(header, map(restore_formula, cells), strict=True)))
        except InvalidEntry as invalid:
            _note(report, lines.number, invalid.errors)
            continue
        if not may_use_scope(entry.scope):
            _note(report, lines.number, {"scope": _NOT_YOURS})
            continue
        if not report.invalid:
            spool.add(entry)


_NOT_YOURS = "Your key may change entries for its own sender domains only; write one of them."


def _note(report: ImportReport, line: int, errors: Any) -> None:
    report.invalid += 1
    room = ERRORS_SHOWN - len(report.errors)
    report.errors += [LineError(line=line, column=name, detail=text) for name, text in errors.items()][:room]


def _read_header(lines: "_Lines") -> tuple[list[str], str]:
    """Return the names of the columns, and the character between them. Raises UnreadableFile."""
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    cells = next(_read_cells(lines, delimiter, first), [])
    header = [cell.strip().lower() for cell in cells]
    if REQUIRED not in header:
        detail = f"The header has no column 'address'. Begin the file with a line such as: {','.join(COLUMNS[:3])}"
        raise UnreadableFile(1, detail)
    if unknown := [name for name in header if name not in COLUMNS]:
        shown = printable.replace_unprintable(unknown[0][:40], allowed="")
        raise UnreadableFile(1, f"There is no such column. Rename or remove it. Known: {_KNOWN}.", column=f"'{shown}'")
    if twice := [name for name in header if header.count(name) > 1]:
        raise UnreadableFile(1, "It is in the header twice; remove one.", column=twice[0])
    return header, delimiter


def _read_cells(lines: "_Lines", delimiter: str, *first: str) -> Iterator[list[str]]:
    """Yield the cells of the rows; with `first` those of this line alone. Raises UnreadableFile."""
    try:
        yield from csv.reader(first or lines, delimiter=delimiter, strict=True)
    except csv.Error as error:
        detail = f"It cannot be read as CSV: {error}. Look for a quote that is not closed or not doubled."
        raise UnreadableFile(max(1, lines.number), detail) from None


class _Lines:
    """The lines of a file as text, and the number of the last one. Raises UnreadableFile."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self._file = file

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(LINE_LIMIT + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > LINE_LIMIT:
            raise UnreadableFile(self.number, f"It has more than {LINE_LIMIT} bytes. Is this a CSV file?")
        if self.number == 1:
            if line.startswith(_UTF16):
                raise UnreadableFile(1, _NOT_UTF8)
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in line:
            raise UnreadableFile(self.number, f"It contains a NUL character. {_NOT_UTF8}")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise UnreadableFile(self.number, f"Byte {error.start + 1} is no text. {_NOT_UTF8}") from None


class _Spool:
    """Entries on the disk, each address and scope once (the last row counts), in the order in which they are stored.

    A temporary database of SQLite, whatever Mercury's own is: it goes to a file once it is larger than its cache, and the
    operating system deletes it with the process.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA cache_size = -16000")  # KiB
        self._database.execute("PRAGMA journal_mode = OFF")
        columns = ", ".join(f"{name} TEXT" for name in _READ)
        self._database.execute(f"CREATE TABLE entry ({columns}, PRIMARY KEY (address, scope)) WITHOUT ROWID")
        self._added: list[tuple[str | None, ...]] = []

    def add(self, entry: NewEntry) -> None:
        """Keep an entry."""
        times = [moment.isoformat() if moment else None for moment in (entry.since, entry.expires_at)]
        mail_id = str(entry.mail_id) if entry.mail_id else None
        self._added.append((entry.address, entry.scope, entry.reason, entry.detail, *times, mail_id))
        if len(self._added) == BATCH:
            self._flush()

    def count(self) -> int:
        """Return the number of entries."""
        self._flush()
        (count,) = self._database.execute("SELECT count(*) FROM entry").fetchone()
        return int(count)

    def read_batches(self) -> Iterator[list[NewEntry]]:
        """Yield the entries, at most BATCH at a time."""
        self._flush()
        rows = self._database.execute("SELECT * FROM entry ORDER BY address, scope")
        while batch := rows.fetchmany(BATCH):
            yield [_build_entry(*row) for row in batch]

    def close(self) -> None:
        """Delete what was kept."""
        self._database.close()

    def _flush(self) -> None:
        marks = ", ".join("?" * len(_READ))
        self._database.execute("BEGIN")
        self._database.executemany(f"INSERT OR REPLACE INTO entry VALUES ({marks})", self._added)  # noqa: S608 (marks)
        self._database.execute("COMMIT")
        self._added = []


def _build_entry(
    address: str, scope: str, reason: str, detail: str, since: str | None, expires: str | None, mail_id: str | None
) -> NewEntry:
    return NewEntry(
        address=address,
        scope=scope,
        reason=reason,
        detail=detail,
        since=dt.datetime.fromisoformat(since) if since else None,
        expires_at=dt.datetime.fromisoformat(expires) if expires else None,
        mail_id=uuid.UUID(mail_id) if mail_id else None,
    )
