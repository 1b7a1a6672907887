"""`manage.py createdb`: the prototype's command. Makes the tables, or with --force makes them anew."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandParser
from django.db import connection

from mails.models import Mail
from mercury.lib import commands
from mercury.lib.commands import Exit


class Command(commands.MercuryCommand):
    """Make the tables."""

    help = "Make the tables, or bring them to this version. With --force everything is deleted first."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--force", action="store_true", help="From scratch: delete all mails, keys and log-ins first."
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Migrate, after dropping everything if that is wanted."""
        where = str(connection.settings_dict["NAME"])
        tables = _tables() if options["force"] else []
        if options["dry_run"]:
            out.say(
                f"Would drop {len(tables)} tables of {where}, and make them anew."
                if tables
                else f"Would migrate {where}."
            )
            out.document({"database": where, "dropped": len(tables)})
            return None
        if tables:
            if not out.ask(f"Delete everything in {where}, {_mails(tables)}?"):
                return Exit.FAILED
            _drop(tables)
        call_command("migrate", interactive=False, verbosity=0)
        out.say(f"The tables are ready in {where}.")
        out.document({"database": where, "dropped": len(tables)})
        return None


def _tables() -> list[str]:
    """The tables that exist and are ours."""
    ours = connection.introspection.django_table_names(only_existing=True)
    with connection.cursor() as cursor:
        existing = connection.introspection.table_names(cursor)
    return sorted({*ours, "django_migrations"} & set(existing))


def _mails(tables: list[str]) -> str:
    return f"with {Mail.objects.count():,} mails" if Mail._meta.db_table in tables else "which holds no mail"


def _drop(tables: list[str]) -> None:
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        for table in tables:
            cascade = " CASCADE" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)}{cascade}")
