"""`manage.py sweep`: take up what a lost worker left, now. Servers and workers do it by themselves."""

from typing import Any

from mails.maintenance.sweeper import sweep
from mercury.lib import commands
from mercury.lib.commands import Exit


class Command(commands.MercuryCommand):
    """Take up lost mails."""

    help = (
        "Take up mails that a lost worker left, and expire those whose time is over. "
        "Servers and workers do this by themselves every few seconds."
    )
    makes_changes = True

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Sweep, and say how many by reason."""
        counts = sweep(dry_run=options["dry_run"])
        out.rows(
            [{"mails": count, "what": what} for what, count in counts.most_common()],
            columns={"mails": "Mails", "what": "Would be" if options["dry_run"] else "Were"},
            empty="Nothing was left behind.",
        )
        return None
