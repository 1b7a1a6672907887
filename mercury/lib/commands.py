"""What the commands share: one output for people and one for programs, exit codes, questions, progress bars."""

import argparse
import datetime as dt
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import IntEnum
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error
from django.utils import timezone
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from mercury.lib import durations
from mercury.lib.mail import printable
from mercury.lib.runtime import process

CHECKS = "mercury"  # the tag of Mercury's own system checks, the only ones that a command waits for

# Tones of SCREENS.md's badges, as a terminal shows them. Each is only an addition to a word.
STYLES = {"ok": "green", "bad": "red", "waiting": "yellow", "unknown": "magenta", "active": "cyan", "neutral": ""}


# How far from today an option may point: a time outside fits no database, and is a slip of the finger.
EARLIEST, LATEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9998, 1, 1, tzinfo=dt.UTC)

# What is shown for a character that the terminal's encoding lacks, where a plain one says the same.
_PLAINER = str.maketrans(
    {
        "→": "->",
        "·": "-",
        "…": "...",
        "“": '"',
        "”": '"',
        "’": "'",
        "–": "-",
        "≈": "~",
        "≤": "<=",
        "�": "?",
        "─": "-",
        "×": "x",
    }
)


class Exit(IntEnum):
    """How a command ended, as its exit code says it."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    PARTLY_DONE = 3
    WAITED_IN_VAIN = 4


def plain(value: object) -> str:
    """Text that is safe to print, see `printable`; None is empty."""
    return "" if value is None else printable.replace_unprintable(str(value))


def duration(text: str) -> dt.timedelta:
    """An option's value such as `30s`, `2m`, `1h` or `3d`; a bare number is seconds."""
    try:
        return durations.parse_bounded(f"{text}s" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()) else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of an option that takes a whole number from `least` to `most`."""

    def kind(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", text.strip()) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{plain(text[:40])}' is not a whole number from {least:,} to {most:,}.")
        return int(text)

    return kind


port = whole(1, 65_535)


def filled(text: str) -> str:
    """An option's text. A blank one is a mistake, often a shell variable that is not set, and not the same as none."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is blank. Give it a value, or leave it out.")
    return text


def read_stdin() -> str:
    """Return the standard input as UTF-8, whatever the terminal's encoding. Raises UnicodeDecodeError."""
    binary = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read() if binary is None else binary.read().decode()


def write_any_text() -> None:
    """Let the standard output show what its encoding lacks by its number; a character must not end a command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def cannot_listen(address: int, error: OSError) -> CommandError:
    """Return the error of a port that a server cannot have."""
    why = error.strerror or str(error)
    return CommandError(
        f"Port {address} cannot be used: {why}. Perhaps another program serves there; name another port."
    )


def moment(text: str) -> dt.datetime:
    """An option's point in time: an age such as `1h`, or an ISO date with or without a time (UTC)."""
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            return timezone.now() - durations.parse_bounded(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"'{text}' is neither an age (15m, 1h, 3d) nor a date (2026-01-31, 2026-01-31T08:00)."
            ) from error
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
    if not EARLIEST <= parsed <= LATEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not between {EARLIEST:%Y} and {LATEST:%Y}.")
    return parsed


class Output:
    """Where a command's answer goes: words and tables for people, or with --json nothing but JSON.

    Everything but the answer (questions, progress) goes to stderr, so that stdout can be piped.
    """

    def __init__(self, stdout: Any, *, as_json: bool, no_color: bool, assume_yes: bool, dry_run: bool = False) -> None:
        self.as_json = as_json
        self._dry_run = dry_run
        self.assume_yes = assume_yes
        self._stdout = stdout
        self._console = Console(
            file=io.StringIO(),  # only a place to draw; what is drawn is written to stdout
            force_terminal=stdout.isatty(),
            no_color=no_color or None,
            width=None if stdout.isatty() else 1000,  # a pipe has no edge at which lines would have to break
            markup=False,
            highlight=False,
            emoji=False,
        )
        self._no_color = no_color

    def say(self, text: str = "", *, tone: str = "neutral") -> None:
        """A line for people; silent with --json."""
        if not self.as_json:
            self._print(Text(plain(text), style=STYLES[tone]))

    def exact(self, content: bytes) -> None:
        """Print ASCII as it is, to the octet, so that it can be piped into a file; silent with --json."""
        if not self.as_json:
            self._stdout.write(content.decode("ascii"), ending="")

    def document(self, data: Mapping[str, object]) -> None:
        """One JSON document; silent without --json. One of a dry run says so: what it tells has not happened."""
        if self.as_json:
            told = {**data, "dry_run": True} if self._dry_run else data
            text = printable.escape_in_json(json.dumps(told, cls=DjangoJSONEncoder, ensure_ascii=False))
            self._stdout.write(text if self._can_show(text) else json.dumps(told, cls=DjangoJSONEncoder))

    def rows(
        self,
        rows: Iterable[Mapping[str, object]],
        *,
        columns: Mapping[str, str],
        empty: str,
        tones: Mapping[str, str] | None = None,
    ) -> None:
        """A table, or with --json one object a line.

        `columns` maps keys of the rows to headings, `empty` is said where there is no row, and `tones` maps
        values (of any column) to the tone they are shown in. JSON lines carry all keys, also those not shown.
        """
        if self.as_json:
            for row in rows:
                self.document(row)
            return
        table = Table(*columns.values(), box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for row in rows:
            table.add_row(*(self._cell(row.get(key), tones or {}) for key in columns))
        if table.row_count:
            self._print(table)
        else:
            self.say(empty)

    def ask(self, question: str) -> bool:
        """Whether the person says yes; true at once with --yes. Without a terminal nobody can: that is wrong use."""
        if self.assume_yes:
            return True
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Nobody is there to answer: repeat with --yes.", returncode=Exit.WRONG_USE)
        sys.stderr.write(f"{plain(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    @contextmanager
    def progress(self, what: str, *, total: int | None = None) -> Iterator["Bar"]:
        """A bar on stderr while the block runs, if stderr is a terminal."""
        console = Console(stderr=True, no_color=self._no_color or None)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            yield Bar(progress, progress.add_task(what, total=total, note=""))

    def _cell(self, value: object, tones: Mapping[str, str]) -> Text:
        match value:
            case list() | tuple():
                text = plain(", ".join(map(str, value)))
            case dt.datetime():
                text = f"{value:%Y-%m-%d %H:%M}"
            case _:
                text = plain(value)
        return Text(text, style=STYLES[tones.get(text, "neutral")])

    def _print(self, renderable: Text | Table) -> None:
        with self._console.capture() as capture:
            self._console.print(renderable, soft_wrap=isinstance(renderable, Text))
        text = "\n".join(line.rstrip() for line in capture.get().split("\n"))
        self._stdout.write(text if self._can_show(text) else text.translate(_PLAINER), ending="")

    def _can_show(self, text: str) -> bool:
        try:
            text.encode(getattr(self._stdout, "encoding", None) or "utf-8", "surrogatepass")
        except UnicodeEncodeError:
            return False
        return True


class Bar:
    """A progress bar that is being shown."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Move the bar to `done`, and write `note` beside it."""
        self._progress.update(self._task, completed=done, total=total, note=note)


class MercuryCommand(BaseCommand):
    """A command of Mercury's: `add_arguments`, and `run`, which calls one function and shows what it gave.

    Adds --json, and where `makes_changes` is set --dry-run and --yes. `run` returns how it ended (None: done).
    """

    makes_changes = False
    serves = False  # True where it runs as the instance's own process, so that its environment is the instance's
    requires_system_checks = [CHECKS]

    def run(self, out: Output, options: dict[str, Any]) -> Exit | None:
        """Do the command's work. A dry run too gives its answer: a document that says what would be done."""
        raise NotImplementedError

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's parser with the common options."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument(
            "--json", action="store_true", help="Print JSON and nothing else: one document, or one a line."
        )
        if self.makes_changes:
            parser.add_argument("--dry-run", action="store_true", help="Say what would be done, and do nothing.")
            parser.add_argument("--yes", action="store_true", help="Do not ask.")
        _refuse_blank(parser)
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command and leave with its exit code. A database that is away or too old is said in one line."""
        out = Output(
            self.stdout,
            as_json=options["json"],
            no_color=options["no_color"],
            assume_yes=options.get("yes", False),
            dry_run=options.get("dry_run", False),
        )
        try:
            with nullcontext() if self.serves else process.in_terminal():
                code = self.run(out, options)
        except BrokenPipeError:  # who reads has had enough, as `head` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(int(Exit.FAILED))
        except CommandError as error:  # its text may quote a name that somebody typed
            raise CommandError(plain(error), returncode=error.returncode) from error
        except Error as error:
            raise CommandError(
                f"The database says: {plain(error).strip()}. If tables are missing or old: manage.py migrate."
            ) from error
        if code:
            sys.exit(int(code))


def _refuse_blank(parser: argparse.ArgumentParser) -> None:
    """Refuse blank text for every option that is not blank by default, such as a note, which may be."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _refuse_blank(inner)
        elif action.type is None and action.nargs != 0 and action.default != "":
            action.type = filled


def subcommand(parser: Any, name: str, text: str, *, makes_changes: bool = False) -> CommandParser:
    """A word after a command's own name, with its own arguments and the common options repeated.

    So `providers list --json` reads the way people type it. `parser` is what `add_subparsers` returned.
    """
    added: CommandParser = parser.add_parser(name, help=text, description=text)
    added.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="Print JSON and nothing else.")
    added.add_argument("--no-color", action="store_true", default=argparse.SUPPRESS, help="No colours.")
    if makes_changes:
        added.add_argument(
            "--dry-run", action="store_true", default=argparse.SUPPRESS, help="Change nothing, say what would be done."
        )
        added.add_argument("--yes", action="store_true", default=argparse.SUPPRESS, help="Do not ask.")
    return added
