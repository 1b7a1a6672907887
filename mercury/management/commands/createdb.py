"""`manage.py createdb`: create or upgrade the tables; with --force, from scratch."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandParser
from django.db import connection

from mails.models import Mail
from mercury.lib import commands
from mercury.lib.commands import ExitCode


class Command(commands.MercuryCommand):
    """Create the tables."""

    help = "Create the tables, or upgrade them to this version. With --force, delete everything first."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--force", action="store_true", help="Start from scratch: delete all emails, keys and users first."
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Migrate; with --force, drop all tables first."""
        where = str(connection.settings_dict["NAME"])
        tables = _list_tables() if options["force"] else []
        if options["dry_run"]:
            out.say(
                f"Would delete {len(tables)} tables of {where} and create them again."
                if tables
                else f"Would migrate {where}."
            )
            out.write_document({"database": where, "dropped": len(tables)})
            return None
        if tables:
            if not out.ask(f"Delete everything in {where}, including {_count_emails(tables)}?"):
                return ExitCode.FAILED
            _drop(tables)
        call_command("migrate", interactive=False, verbosity=0)
        out.say(f"The tables are ready in {where}.")
        out.write_document({"database": where, "dropped": len(tables)})
        return None


def _list_tables() -> list[str]:
    """Return Mercury's tables that exist."""
    ours = connection.introspection.django_table_names(only_existing=True)
    with connection.cursor() as cursor:
        existing = connection.introspection.table_names(cursor)
    return sorted({*ours, "django_migrations"} & set(existing))


def _count_emails(tables: list[str]) -> str:
    return commands.format_email_count(Mail.objects.count() if Mail._meta.db_table in tables else 0)


def _drop(tables: list[str]) -> None:
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        for table in tables:
            cascade = " CASCADE" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)}{cascade}")
