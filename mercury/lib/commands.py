"""Shared parts of the commands: output for people or as JSON, exit codes, questions, progress bars."""

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

CHECK_TAG = "mercury"  # the tag of Mercury's own system checks, the only ones that a command waits for

# The tones of the pages' badges in a terminal. A tone only adds to a word; it never replaces one.
STYLES = {"ok": "green", "bad": "red", "waiting": "yellow", "unknown": "magenta", "active": "cyan", "neutral": ""}


# The range of times that an option accepts. A time outside it does not fit the database and is a typing error.
EARLIEST, LATEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9998, 1, 1, tzinfo=dt.UTC)

# Plain replacements for characters that the terminal's encoding lacks.
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


class ExitCode(IntEnum):
    """The exit code of a command."""

    DONE = 0
    FAILED = 1
    USAGE_ERROR = 2
    PARTLY_DONE = 3
    TIMED_OUT = 4


def make_printable(value: object) -> str:
    """Return text that is safe to print, see `replace_unprintable`; None gives an empty text."""
    return "" if value is None else printable.replace_unprintable(str(value))


def parse_duration_option(text: str) -> dt.timedelta:
    """Parse an option such as `30s`, `2m`, `1h` or `3d`; a plain number is seconds."""
    try:
        return durations.parse_bounded_duration(
            f"{text}s" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()) else text
        )
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_integer_option(least: int, most: int) -> Callable[[str], int]:
    """Return the type of an option that accepts a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", text.strip()) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"'{make_printable(text[:40])}' is not a whole number from {least:,} to {most:,}."
            )
        return int(text)

    return parse


def format_email_count(count: int) -> str:
    """Return `1 email`, `20 emails`."""
    return "1 email" if count == 1 else f"{count:,} emails"


parse_port_option = parse_integer_option(1, 65_535)


def parse_text_option(text: str) -> str:
    """Parse an option's text. Refuse a blank one: it is usually a shell variable that is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is blank. Give it a value, or omit it.")
    return text


def escape_unencodable_output() -> None:
    """Make standard output escape characters that its encoding lacks, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def build_port_error(address: int, error: OSError) -> CommandError:
    """Return the error for a port that cannot be used."""
    why = error.strerror or str(error)
    return CommandError(f"Port {address} cannot be used: {why}. Another program may be using it; choose another port.")


def parse_time_option(text: str) -> dt.datetime:
    """Parse an option that names a time: an age such as `1h`, or an ISO date with or without a time (UTC)."""
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            return timezone.now() - durations.parse_bounded_duration(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"'{text}' is neither an age (15m, 1h, 3d) nor a date (2026-01-31, 2026-01-31T08:00)."
            ) from error
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
    if not EARLIEST <= parsed <= LATEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not between {EARLIEST:%Y} and {LATEST:%Y}.")
    return parsed


class Output:
    """A command's output: text and tables for people, or with --json only JSON.

    Only the result is written to stdout, so that it can be piped; questions and progress go to stderr.
    """

    def __init__(self, stdout: Any, *, as_json: bool, no_color: bool, assume_yes: bool, dry_run: bool = False) -> None:
        self.as_json = as_json
        self._dry_run = dry_run
        self.assume_yes = assume_yes
        self._stdout = stdout
        self._console = Console(
            file=io.StringIO(),  # a buffer; its content is written to stdout
            force_terminal=stdout.isatty(),
            no_color=no_color or None,
            width=None if stdout.isatty() else 1000,  # lines in a pipe need no wrapping
            markup=False,
            highlight=False,
            emoji=False,
        )
        self._no_color = no_color

    def say(self, text: str = "", *, tone: str = "neutral") -> None:
        """Print a line for people; print nothing with --json."""
        if not self.as_json:
            self._print(Text(make_printable(text), style=STYLES[tone]))

    def write_exact(self, content: bytes) -> None:
        """Print ASCII unchanged, byte for byte, so that it can be piped into a file; print nothing with --json."""
        if not self.as_json:
            self._stdout.write(content.decode("ascii"), ending="")

    def write_document(self, data: Mapping[str, object]) -> None:
        """Print one JSON document with --json; with --dry-run it contains `"dry_run": true`."""
        if self.as_json:
            document = {**data, "dry_run": True} if self._dry_run else data
            text = printable.escape_in_json(json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False))
            self._stdout.write(text if self._can_show(text) else json.dumps(document, cls=DjangoJSONEncoder))

    def write_rows(
        self,
        rows: Iterable[Mapping[str, object]],
        *,
        columns: Mapping[str, str],
        empty: str,
        tones: Mapping[str, str] | None = None,
    ) -> None:
        """Print a table, or with --json one object per line.

        `columns` maps keys of the rows to headings, `empty` is printed if there are no rows, and `tones` maps
        values (of any column) to their tone. JSON lines contain all keys, including those not shown.
        """
        if self.as_json:
            for row in rows:
                self.write_document(row)
            return
        table = Table(*columns.values(), box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for row in rows:
            table.add_row(*(self._format_cell(row.get(key), tones or {}) for key in columns))
        if table.row_count:
            self._print(table)
        else:
            self.say(empty)

    def ask(self, question: str) -> bool:
        """Ask a question and return True for yes; with --yes return True without asking.

        Raises CommandError if there is no terminal to ask.
        """
        if self.assume_yes:
            return True
        if not sys.stdin.isatty():
            raise CommandError(
                f"{question} Not running interactively; use --yes to confirm.", returncode=ExitCode.USAGE_ERROR
            )
        sys.stderr.write(f"{make_printable(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    @contextmanager
    def show_progress(self, title: str, *, total: int | None = None) -> Iterator["ProgressBar"]:
        """Show a bar on stderr while the block runs, if stderr is a terminal."""
        console = Console(stderr=True, no_color=self._no_color or None)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            yield ProgressBar(progress, progress.add_task(title, total=total, note=""))

    def _format_cell(self, value: object, tones: Mapping[str, str]) -> Text:
        match value:
            case list() | tuple():
                text = make_printable(", ".join(map(str, value)))
            case dt.datetime():
                text = f"{value:%Y-%m-%d %H:%M}"
            case _:
                text = make_printable(value)
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


class ProgressBar:
    """A progress bar that is being shown."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Move the bar to `done`, and show `note` next to it."""
        self._progress.update(self._task, completed=done, total=total, note=note)


class MercuryCommand(BaseCommand):
    """Base of Mercury's commands: `add_arguments` declares the options, `run` does the work and shows the result.

    Adds --json, and with `makes_changes` also --dry-run and --yes. `run` returns the exit code (None: done).
    """

    makes_changes = False
    serves = False  # True for a process of the instance, which has the instance's environment
    requires_system_checks = [CHECK_TAG]

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Do the work and show the result. With --dry-run, show what would be done."""
        raise NotImplementedError

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return Django's parser with the common options."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--json", action="store_true", help="JSON output: one document, or one per line for lists.")
        if self.makes_changes:
            parser.add_argument("--dry-run", action="store_true", help="Show what would happen without doing it.")
            parser.add_argument("--yes", action="store_true", help="Do not ask for confirmation.")
        _reject_blank_options(parser)
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command and exit with its code. A database error is shown in one line."""
        out = Output(
            self.stdout,
            as_json=options["json"],
            no_color=options["no_color"],
            assume_yes=options.get("yes", False),
            dry_run=options.get("dry_run", False),
        )
        try:
            with nullcontext() if self.serves else process.is_in_terminal():
                code = self.run(out, options)
        except BrokenPipeError:  # the reader closed the pipe, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(int(ExitCode.FAILED))
        except CommandError as error:  # its text may quote what was typed
            raise CommandError(make_printable(error), returncode=error.returncode) from error
        except Error as error:
            raise CommandError(
                f"Database error: {make_printable(error).strip()}. If tables are missing or outdated, run: manage.py migrate"
            ) from error
        if code:
            sys.exit(int(code))


def _reject_blank_options(parser: argparse.ArgumentParser) -> None:
    """Refuse blank text for every option, except those that are blank by default, such as a note."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _reject_blank_options(inner)
        elif action.type is None and action.nargs != 0 and action.default != "":
            action.type = parse_text_option


def add_subcommand(parser: Any, name: str, text: str, *, makes_changes: bool = False) -> CommandParser:
    """Add a subcommand with its own arguments and the common options, so that `providers list --json` works.

    `parser` is what `add_subparsers` returned.
    """
    added: CommandParser = parser.add_parser(name, help=text, description=text)
    added.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON output.")
    added.add_argument("--no-color", action="store_true", default=argparse.SUPPRESS, help="Do not use colors.")
    if makes_changes:
        added.add_argument(
            "--dry-run", action="store_true", default=argparse.SUPPRESS, help="Show what would happen without doing it."
        )
        added.add_argument("--yes", action="store_true", default=argparse.SUPPRESS, help="Do not ask for confirmation.")
    return added
