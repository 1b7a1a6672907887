"""`manage.py mails`: list emails, newest first."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails.management import mail_display
from mails.models import Mail, first_id
from mails.models.querysets import MailQuerySet
from mails.reporting import search
from mercury.lib import commands
from mercury.lib.commands import ExitCode

COLUMNS = {
    "badge": "State",
    "id": "Id",
    "recipient": "To",
    "subject": "Subject",
    "provider": "Provider",
    "attempts": "Attempts",
    "reason_code": "Reason",
    "age": "Age",
    "took_words": "Total time",
}
TONES = {
    "Sent": "ok",
    "Sent, possibly twice": "unknown",
    "Sent twice": "unknown",
    "Sending": "active",
    "Waiting to retry": "waiting",
    "Outcome unknown": "unknown",
    "Held": "unknown",
    "Held: poison": "unknown",
    "Discarded": "bad",
    "Rejected": "bad",
}


class Command(commands.MercuryCommand):
    """List emails."""

    help = "List emails, newest first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--state", choices=search.STATES, help="Only emails in this state.")
        parser.add_argument("--to", metavar="TEXT", help="Only emails whose recipient contains this text.")
        parser.add_argument("--provider", metavar="ACCOUNT", help="Only emails last attempted by this account.")
        parser.add_argument(
            "--since",
            type=commands.parse_time_option,
            metavar="1h",
            help="Only emails accepted since then: an age or a date.",
        )
        parser.add_argument("--search", metavar="WORDS", help=f"{search.HELP}.")
        parser.add_argument(
            "--limit",
            type=commands.parse_integer_option(1, 100_000),
            default=20,
            metavar="N",
            help="Show at most N (default: 20).",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Find the emails and show them."""
        now = timezone.now()
        mail_display.show_pauses(out)
        try:
            found = _find(options)[: options["limit"]]
        except search.UnknownSearchWord as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE_ERROR) from error
        out.write_rows(
            (mail_display.build_mail_row(mail, now) for mail in found),
            columns=COLUMNS,
            tones=TONES,
            empty="No email matches."
            if any(options[name] for name in ("state", "to", "provider", "since", "search"))
            else "No emails yet. Send the first: manage.py send --from you@example.com --to you@example.com --wait",
        )
        return None


def _find(options: dict[str, Any]) -> MailQuerySet:
    found: MailQuerySet = Mail.objects.order_by("-id")
    if options["state"]:
        found = found.filter(search.STATES[options["state"]][1])
    if options["to"]:
        found = search.narrow(found, f"to:{options['to']}")
    if options["provider"]:
        found = found.filter(provider=options["provider"])
    if options["since"]:
        found = found.filter(pk__gte=first_id(options["since"]))
    return search.narrow(found, options["search"] or "")
