"""`manage.py retention`: delete old bodies, and older emails, now. Servers and workers do it automatically."""

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from mails.maintenance import retention, retention_limits
from mails.maintenance.retention import RemovedCounts
from mercury.lib import commands, durations
from mercury.lib.commands import ExitCode


class Command(commands.MercuryCommand):
    """Delete what is past its retention period."""

    help = (
        "Delete the bodies of finished emails, and later the whole emails, after the retention period. Held emails and "
        "emails in progress are kept. Servers and workers do this automatically, with MERCURY_BODY_RETENTION and "
        "MERCURY_MAIL_RETENTION."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--bodies",
            type=commands.parse_duration_option,
            default=settings.MERCURY_BODY_RETENTION,
            metavar="30d",
            help="Keep bodies this long after an email is finished. Default: MERCURY_BODY_RETENTION.",
        )
        parser.add_argument(
            "--mails",
            type=commands.parse_duration_option,
            default=settings.MERCURY_MAIL_RETENTION,
            metavar="365d",
            help="Keep emails this long after they are finished; at least 2d. Default: MERCURY_MAIL_RETENTION.",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Show what will be deleted, ask, delete it, and show the result."""
        ages = (options["bodies"], options["mails"])
        if error := retention_limits.find_error(*ages):
            raise CommandError(error, returncode=ExitCode.USAGE_ERROR)
        expected = retention.forecast(*ages)
        if options["dry_run"] or not expected:
            _show(out, expected, dry_run=options["dry_run"])
            return None
        if not out.ask(f"Permanently delete {expected.texts:,} bodies and {expected.mails:,} emails?"):
            out.say("Nothing was deleted.")
            return ExitCode.FAILED
        removed = RemovedCounts()
        with out.show_progress("Deleting", total=expected.texts + expected.mails) as bar:
            for batch in retention.run(*ages):
                removed += batch
                bar.show(removed.texts + removed.mails, note=f"{removed.texts:,} bodies, {removed.mails:,} emails")
        _show(out, removed, dry_run=False)
        return None


def _show(out: commands.Output, removed: RemovedCounts, *, dry_run: bool) -> None:
    parts = [
        ("Bodies", removed.texts, f"{removed.texts:,}", durations.format_size(removed.text_bytes)),
        ("Emails", removed.mails, f"{removed.rows:,}", ""),
        ("Months of events", removed.months, "", durations.format_size(removed.month_bytes)),
    ]
    if not out.as_json:
        out.write_rows(
            [
                {"what": what, "count": f"{count:,}", "rows": rows, "bytes": size}
                for what, count, rows, size in parts
                if count
            ],
            columns={
                "what": "Would be deleted" if dry_run else "Deleted",
                "count": "Number",
                "rows": "Rows",
                "bytes": "Bytes",
            },
            empty="Nothing is past its retention period.",
        )
    out.write_document({"dry_run": dry_run, **asdict(removed)})
