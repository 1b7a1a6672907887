import argparse
import datetime as dt
import io
import json
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from mercury.lib import commands, durations
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_errors


def output(*, as_json: bool = False, assume_yes: bool = False) -> tuple[Output, io.StringIO]:
    stream = io.StringIO()
    return Output(OutputWrapper(stream), as_json=as_json, no_color=False, assume_yes=assume_yes), stream


ROWS = [{"name": "olympus", "mails": 2, "hidden": "x"}, {"name": "hades", "mails": 0, "hidden": "y"}]
COLUMNS = {"name": "Name", "mails": "Mails"}


def test_a_table_has_headings_and_the_columns_asked_for():
    out, stream = output()

    out.write_rows(ROWS, columns=COLUMNS, empty="None.")

    first, *_, last = stream.getvalue().rstrip("\n").split("\n")
    assert first.split() == ["Name", "Mails"]
    assert last.split() == ["hades", "0"]


def test_json_is_one_object_a_line_and_nothing_else():
    out, stream = output(as_json=True)

    out.say("Hello")
    out.write_rows(ROWS, columns=COLUMNS, empty="None.")

    assert [json.loads(line) for line in stream.getvalue().splitlines()] == ROWS


def test_an_empty_list_is_said():
    out, stream = output()

    out.write_rows([], columns=COLUMNS, empty="No account yet.")

    assert stream.getvalue() == "No account yet.\n"


def test_a_long_line_stays_one_line_in_a_pipe():
    out, stream = output()

    out.say("word " * 100)

    assert stream.getvalue().count("\n") == 1


def test_control_characters_and_bidi_marks_cannot_drive_the_terminal():
    out, stream = output()

    out.say("a\x1b[2Jb\u202ec")

    assert stream.getvalue() == "a�[2Jb�c\n"


def test_markup_is_shown_as_it_is():
    out, stream = output()

    out.say("[bold]Hi[/bold] :smile:")

    assert stream.getvalue() == "[bold]Hi[/bold] :smile:\n"


def test_a_question_nobody_can_answer_is_wrong_use(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    out, _ = output()

    with pytest.raises(CommandError) as refused:
        out.ask("Delete everything?")

    assert refused.value.returncode == ExitCode.USAGE_ERROR


def test_yes_answers_before_the_question_is_asked():
    assert output(assume_yes=True)[0].ask("Delete everything?")


@pytest.mark.one_leg
@pytest.mark.parametrize(
    ("options", "traceback"), [(["migrate"], False), (["showmigrations"], False), (["migrate", "--traceback"], True)]
)
def test_a_database_that_is_away_is_reported_in_short_by_django_s_commands_too(tmp_path, options, traceback):
    done = subprocess.run(
        [sys.executable, "manage.py", *options],
        env={"MERCURY_DATA": str(tmp_path), "DATABASE_URL": "postgres://zeus:thunder@127.0.0.1:1/mercury"},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert ("Traceback" in done.stderr) is traceback
    assert done.stderr.startswith("CommandError: The database says: connection to server at") is not traceback
    assert "thunder" not in done.stderr


@pytest.mark.django_db
def test_sql_that_is_wrong_is_no_database_that_is_away():
    with pytest.raises(DatabaseError) as raised, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM nowhere")

    assert not database_errors.is_temporary(raised.value)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("45", 45), ("1.5", 1.5), ("2m", 120)])
def test_durations(text, seconds):
    assert commands.parse_duration_option(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.0003, "0.3 ms"), (0.00094, "0.9 ms"), (0.00096, "1 ms"), (0.0042, "4 ms"), (1.126, "1.13 s")],
)
def test_a_duration_in_words(seconds, words):
    assert durations.format_duration(seconds) == words


@pytest.mark.parametrize("text", ["", "soon", "-1s"])
def test_a_malformed_duration_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        commands.parse_duration_option(text)


def test_a_moment_is_an_age_or_a_date():
    assert commands.parse_time_option("2026-01-31") == dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
    assert abs(timezone.now() - commands.parse_time_option("1h") - dt.timedelta(hours=1)) < dt.timedelta(seconds=5)
    with pytest.raises(argparse.ArgumentTypeError):
        commands.parse_time_option("yesterday")
