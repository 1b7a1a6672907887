"""`manage.py sweep`: recover the emails of dead workers now. Servers and workers do it automatically."""

from typing import Any

from mails.maintenance.sweeper import sweep
from mercury.lib import commands
from mercury.lib.commands import ExitCode


class Command(commands.MercuryCommand):
    """Recover emails of dead workers."""

    help = (
        "Requeue emails of dead workers, and expire overdue ones. "
        "Servers and workers do this automatically every few seconds."
    )
    makes_changes = True

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Sweep, and show the number of emails by reason."""
        counts = sweep(dry_run=options["dry_run"])
        out.write_rows(
            [{"mails": count, "what": what} for what, count in counts.most_common()],
            columns={"mails": "Emails", "what": "Would be" if options["dry_run"] else "Were"},
            empty="Nothing to recover.",
        )
        return None
