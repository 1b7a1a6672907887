"""`manage.py setup`: prepare a fresh clone for serving. `make run` calls it."""

import json
import secrets
import socket
import sys
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

from mails.access import api_keys
from mails.access.api_keys import Scope
from mercury.lib import commands
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.commands import ExitCode

OPERATOR = "mercury"
SCOPES = (
    Scope.MAILS_SEND,
    Scope.MAILS_READ,
    Scope.MAILS_MANAGE,
    Scope.EVENTS_WRITE,
    Scope.PROVIDERS_READ,
    Scope.STATS_READ,
)
FIRST_MAIL = {
    "sender": "mercury@olimpus.com",
    "recipient": "zeus@olimpus.com",
    "subject": "You made my day",
    "content": "Hi",
}


class Command(commands.MercuryCommand):
    """Prepare Mercury for serving."""

    help = (
        "Create the tables and collect the static files. On the first run, also create an operator and an API key, and "
        "show them once. Safe to repeat: existing data is kept."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--port",
            type=commands.parse_port_option,
            metavar="N",
            help="Port that Mercury will serve on; fails if it is in use.",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Prepare Mercury, and show the next steps."""
        if options["port"]:
            _check_port(options["port"])
        url = f"http://127.0.0.1:{options['port'] or 8000}"
        if options["dry_run"]:
            _show_plan(out, url)
            return None
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        created = _create_first_login()
        out.write_document({"url": url, **(created or {})})
        _show_urls(out, url)
        if created:
            _show_secrets(out, url, created)
        else:
            _show_existing(out)
        return None


def _check_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(
                f"Port {port} is in use ({error.strerror}). Mercury may already be running. "
                f"Use another port: make run PORT={port + 1}"
            ) from error


def _show_plan(out: commands.Output, url: str) -> None:
    executor = MigrationExecutor(connection)
    migrations = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    has_tables = get_user_model()._meta.db_table in connection.introspection.table_names()
    is_first = not has_tables or not _has_operator()
    out.say(f"Would apply {migrations} migrations and collect the static files.")
    out.say(
        f"Would create the operator '{OPERATOR}' and an API key." if is_first else "Existing users and keys are kept."
    )
    out.write_document({"url": url, "migrations": migrations, "first_login": is_first})


def _has_operator() -> bool:
    return get_user_model().objects.filter(is_superuser=True).exists()


@transaction.atomic
def _create_first_login() -> dict[str, str] | None:
    """Create the first operator and the first key, and return them; None if an operator exists."""
    if _has_operator():
        return None
    password = secrets.token_urlsafe(12)
    operator = get_user_model().objects.create_superuser(username=OPERATOR, password=password)
    audit.record(
        Act.REGISTER,
        by=audit.COMMAND_LINE,
        kind="person",
        name=OPERATOR,
        object_id=operator.pk,
        detail="superuser: yes",
    )
    _, text = api_keys.create("first", scopes=SCOPES, senders=["*"])
    return {"username": OPERATOR, "password": password, "key": text}


def _show_urls(out: commands.Output, url: str) -> None:
    out.say("Mercury is ready.")
    out.say()
    out.say(f"  Send an email   {url}/")
    out.say(f"  Admin           {url}/admin/")
    out.say(f"  API             {url}/api/v1.0/")
    out.say(f"  API docs        {url}/api/docs/")
    out.say()


def _show_secrets(out: commands.Output, url: str, created: dict[str, str]) -> None:
    out.say(f"  Username        {created['username']}")
    out.say(f"  Password        {created['password']}")
    out.say(f"  API key         {created['key']}")
    out.say()
    out.say("Copy the password and the key now; they are shown only once. Send a first email from another terminal:")
    out.say()
    out.say(f"  curl -i {url}/api/v1.0/mails/ \\")
    out.say(f"    -H 'Authorization: Bearer {created['key']}' \\")
    out.say("    -H 'Content-Type: application/json' \\")
    out.say(f"    -d '{json.dumps(FIRST_MAIL)}'")
    out.say()


def _show_existing(out: commands.Output) -> None:
    out.say("Existing data is kept. The password and the key were shown on the first run. To get new ones:")
    out.say()
    python = sys.executable.removeprefix(f"{settings.BASE_DIR}/")
    out.say(f"  {python} manage.py changepassword {OPERATOR}")
    out.say(f"  {python} manage.py apikey create NAME --sender '*'")
    out.say()
