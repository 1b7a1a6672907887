"""Commands at the edges: numbers out of bounds, blank options, terminals of few characters, ports in use."""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class

from mails.states import Status
from mails.tests.builders import a_mail
from mails.tests.commandline import run
from mercury.lib.commands import MercuryCommand

# `migrate` is Django's, with a lock around it.
OURS = [
    name
    for name, app in sorted(get_commands().items())
    if app in {"mails", "providers", "mercury"} and name != "migrate"
]
MAY_BE_BLANK = {"subject", "note", "content", "detail"}
HERE = Path(settings.BASE_DIR)


def options_of(name):
    """Every option and argument of a command, those of its words too."""
    command = load_command_class(get_commands()[name], name)
    assert isinstance(command, MercuryCommand)
    parsers = [command.create_parser("manage.py", name)]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif action.nargs != 0:
                yield action


@pytest.mark.parametrize("name", OURS)
def test_no_option_takes_a_number_without_bounds_or_a_blank_text(name):
    for action in options_of(name):
        assert action.type not in {int, float} or action.choices, action.dest
        if action.dest not in MAY_BE_BLANK:
            assert action.type is not None, action.dest
            if action.type is not int and action.type is not Path:
                with pytest.raises((argparse.ArgumentTypeError, ValueError)):
                    action.type(" ")


@pytest.mark.parametrize(
    "words",
    [
        *(("mails", f"--limit={text}") for text in ("-3", "0", "100001", "٣", "1_0", "1.5", "many", "9" * 30)),
        ("cancel", "--state=queued", "--limit=0"),
        ("hold", "--state=queued", "--limit=-1"),
        ("demo", "--mails=0"),
        ("dispatch", "--concurrency=0"),
        ("worker", "--concurrency=-1"),
        ("profile", "--length=0"),
        *(("profile", f"--port={port}") for port in ("-1", "0", "65536")),
        ("setup", "--port=70000"),
        ("test", "--workers=0"),
        ("mails", "--since=99999999999d"),
        ("mails", "--since=0001-01-01"),
        ("mails", "--since=9999-12-31T23:59:59-23:00"),
        ("apikey", "create", "shop", "--expires=99999999d"),
        ("sandbox", "set", "sandbox-a", "refuse", "--for=999999d"),
        ("mails", "--to="),
        ("mails", "--search= "),
        ("mails", "--provider="),
        ("cancel", "--reason="),
        ("cancel", ""),
        ("send", "--from=zeus@olimpus.com", "--to="),
        ("send", "--from=zeus@olimpus.com", "--to=hera@olimpus.com", "--key="),
        ("apikey", "create", ""),
        ("providers", "test", "sandbox-a", "--to="),
    ],
    ids=" ".join,
)
def test_an_option_out_of_bounds_is_named_in_one_line(words, db):
    ran = run(*words)

    assert ran.code != 0
    assert ran.error.startswith("Error: argument ")
    assert "\n" not in ran.error
    assert len(ran.error) < 300


def manage(*words, **environment):
    """Run a command as a process of its own, with a terminal's encoding, and return how it ended."""
    return run_python("manage.py", *words, around=environment)


def run_python(*words, around, stdin=b""):
    return subprocess.run(
        [sys.executable, *words],
        cwd=HERE,
        env={"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 50, "DATABASE_URL": "", "REDIS_URL": "", **around},
        input=stdin,
        capture_output=True,
        check=False,
        timeout=120,
    )


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
# Many commands in one process, as manage.py would run each: to start one for each takes minutes.
EVERY_COMMAND = """
import sys
import django
django.setup()
from django.core.management import call_command, execute_from_command_line
from mercury.lib import commands
from mails.models import Mail
commands.escape_unencodable_output()
call_command("migrate", verbosity=0)
call_command("send", "--from=zeus@olimpus.com", "--to=hera@olimpus.com", "--subject=Gr\\xfc\\xdfe \\u2192", "--text=-")
mail = Mail.objects.get()
assert mail.content.text == "Gr\\xfc\\xdfe\\n", ascii(mail.content.text)
for words in (
    ["mails"], ["mail", str(mail.pk)], ["mail", str(mail.pk), "--events"], ["stats"], ["providers", "list"], ["queues"],
    ["demo", "--dry-run"], ["cancel", str(mail.pk), "--dry-run"], ["sandbox"], ["apikey", "list"],
    *([name, "--help"] for name in sys.argv[1:]),
):
    try:
        execute_from_command_line(["manage.py", *words])
    except SystemExit as leaving:
        assert not leaving.code, (words, leaving.code)
print("JSON:")
call_command("mails", "--json")
"""


@pytest.mark.one_leg
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_commands_end_well_where_the_terminal_knows_few_characters(encoding, tmp_path):
    around = {"MERCURY_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "mercury.settings", **ENCODINGS[encoding]}

    ran = run_python("-c", EVERY_COMMAND, *OURS, around=around, stdin="Grüße\n".encode())

    assert ran.returncode == 0, ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
    shown, _, document = ran.stdout.decode("cp1252" if encoding == "cp1252" else "ascii").partition("JSON:")
    assert json.loads(document)["subject"] == "Grüße →"
    assert "Gr" in shown
    assert "usage: manage.py" in shown


@pytest.mark.one_leg
@pytest.mark.parametrize("words", [("profile",), ("setup",)])
def test_a_port_in_use_is_reported_in_one_line(words, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        ran = manage(*words, "--port", str(occupied.getsockname()[1]), MERCURY_DATA=str(tmp_path))

    assert ran.returncode == 1
    assert b"Traceback" not in ran.stderr
    assert ran.stderr.decode().strip().count("\n") == 0
    assert b"Port " in ran.stderr


@pytest.mark.one_leg
def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()

    ran = manage("profile", "--dir", str(tmp_path / "file" / "below"), MERCURY_DATA=str(tmp_path))

    assert ran.returncode == 2
    assert ran.stderr.decode().startswith("CommandError: --dir ")


def test_a_mail_is_not_cancelled_by_a_variable_that_is_not_set(db):
    mail = a_mail()

    assert run("cancel", "--reason", "", "--yes").code != 0

    mail.refresh_from_db()
    assert mail.status == Status.QUEUED
