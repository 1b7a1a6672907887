"""`manage.py setup`: everything between a fresh clone and a Mercury that serves. `make run` calls it."""

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
from mails.models import Mail
from mercury.lib import commands
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.commands import Exit

OPERATOR = "mercury"
SCOPES = (
    Scope.MAILS_SEND,
    Scope.MAILS_READ,
    Scope.MAILS_STEER,
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
        "Make the tables and collect the static files; the first time also make an operator and an API key, and show "
        "them, once. Repeat it as often as you like: what is there is kept."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--port", type=commands.port, metavar="N", help="Where Mercury will serve; fails if the port is taken."
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Prepare, and say how to go on."""
        if options["port"]:
            _ask_for(options["port"])
        url = f"http://127.0.0.1:{options['port'] or 8000}"
        if options["dry_run"]:
            _say_what_is_missing(out, url)
            return None
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        made = _first_log_in()
        out.document({"url": url, **(made or {})})
        _say_where(out, url)
        if made:
            _say_secrets(out, url, made)
        else:
            _say_kept(out)
        return None


def _ask_for(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(
                f"Port {port} is not free ({error.strerror}); perhaps Mercury is running already. "
                f"Another port: make run PORT={port + 1}"
            ) from error


def _say_what_is_missing(out: commands.Output, url: str) -> None:
    executor = MigrationExecutor(connection)
    migrations = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    has_tables = get_user_model()._meta.db_table in connection.introspection.table_names()
    is_first = not has_tables or not _has_operator()
    out.say(f"Would apply {migrations} migrations, and collect the static files.")
    out.say(
        f"Would make the operator '{OPERATOR}' and an API key." if is_first else "Log-ins and keys stay as they are."
    )
    out.document({"url": url, "migrations": migrations, "first_log_in": is_first})


def _has_operator() -> bool:
    return get_user_model().objects.filter(is_superuser=True).exists()


@transaction.atomic
def _first_log_in() -> dict[str, str] | None:
    """Make the first operator and the first key, and return them; None if there is an operator."""
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


def _say_where(out: commands.Output, url: str) -> None:
    out.say("Mercury is ready.")
    out.say()
    out.say(f"  Write a mail    {url}/")
    out.say(f"  Operators       {url}/admin/")
    out.say(f"  API             {url}/api/v1.0/     its documentation: {url}/api/docs/")
    out.say()


def _say_secrets(out: commands.Output, url: str, made: dict[str, str]) -> None:
    out.say(f"  Log-in          {made['username']}")
    out.say(f"  Password        {made['password']}")
    out.say(f"  API key         {made['key']}")
    out.say()
    out.say("Password and key are shown this once. The first mail, from another terminal:")
    out.say()
    out.say(f"  curl -i {url}/api/v1.0/mails/ \\")
    out.say(f"    -H 'Authorization: Bearer {made['key']}' \\")
    out.say("    -H 'Content-Type: application/json' \\")
    out.say(f"    -d '{json.dumps(FIRST_MAIL)}'")
    out.say()


def _say_kept(out: commands.Output) -> None:
    some = "some" if Mail.objects.exists() else "no"
    out.say(f"What was there is kept ({some} mails). Log-in and key were shown at the first start; for new ones:")
    out.say()
    python = sys.executable.removeprefix(f"{settings.BASE_DIR}/")
    out.say(f"  {python} manage.py changepassword {OPERATOR}")
    out.say(f"  {python} manage.py apikey create NAME --sender '*'")
    out.say()
