"""`manage.py retention`: remove old texts, and older mails, now. Processes that drain do it by themselves."""

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from mails.maintenance import retention, retention_limits
from mails.maintenance.retention import Removed
from mercury.lib import commands, durations
from mercury.lib.commands import Exit


class Command(commands.MercuryCommand):
    """Remove what is too old."""

    help = (
        "Remove the texts of mails, and later the mails, that reached their end long enough ago. A mail that is held or "
        "on its way stays. Servers and workers do this by themselves, with MERCURY_BODY_RETENTION and _MAILS."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--bodies",
            type=commands.duration,
            default=settings.MERCURY_BODY_RETENTION,
            metavar="30d",
            help="How long after its end a mail keeps its text. Default: MERCURY_BODY_RETENTION.",
        )
        parser.add_argument(
            "--mails",
            type=commands.duration,
            default=settings.MERCURY_MAIL_RETENTION,
            metavar="365d",
            help="How long after its end a mail is kept; at least 2d. Default: MERCURY_MAIL_RETENTION.",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Say what will go, ask, remove it, and say what went."""
        ages = (options["bodies"], options["mails"])
        if fault := retention_limits.wrong(*ages):
            raise CommandError(fault, returncode=Exit.WRONG_USE)
        expected = retention.outlook(*ages)
        if options["dry_run"] or not expected:
            _tell(out, expected, dry_run=options["dry_run"])
            return None
        if not out.ask(f"Remove {expected.texts:,} texts and {expected.mails:,} mails for good?"):
            out.say("Nothing was removed.")
            return Exit.FAILED
        removed = Removed()
        with out.progress("Removing", total=expected.texts + expected.mails) as bar:
            for batch in retention.run(*ages):
                removed += batch
                bar.show(removed.texts + removed.mails, note=f"{removed.texts:,} texts, {removed.mails:,} mails")
        _tell(out, removed, dry_run=False)
        return None


def _tell(out: commands.Output, removed: Removed, *, dry_run: bool) -> None:
    parts = [
        ("Texts", removed.texts, f"{removed.texts:,}", durations.size_words(removed.text_bytes)),
        ("Mails", removed.mails, f"{removed.rows:,}", ""),
        ("Months of events", removed.months, "", durations.size_words(removed.month_bytes)),
    ]
    if not out.as_json:
        out.rows(
            [
                {"what": what, "count": f"{count:,}", "rows": rows, "bytes": size}
                for what, count, rows, size in parts
                if count
            ],
            columns={
                "what": "Would be removed" if dry_run else "Removed",
                "count": "Number",
                "rows": "Rows",
                "bytes": "Bytes",
            },
            empty="Nothing is old enough to be removed.",
        )
    out.document({"dry_run": dry_run, **asdict(removed)})
