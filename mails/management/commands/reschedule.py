"""`manage.py reschedule`: send emails at another time."""

from dataclasses import replace
from typing import Any

from django.core.management.base import CommandParser

from mails.lifecycle.action_requests import ActionRequest
from mails.management.action_commands import ActionCommand
from mails.management.time_options import MOMENT_FORMS, parse_time, plan_times
from mails.states import Action


class Command(ActionCommand):
    """Reschedule emails."""

    help = (
        "Send emails at another time: scheduled ones, and others that are queued or wait to retry. An email that is being "
        "sent, is held or is final is skipped."
    )
    action = Action.RESCHEDULE

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--at", required=True, metavar="TIME", help=f"When to send them: {MOMENT_FORMS}, or now.")
        parser.add_argument(
            "--expires",
            metavar="TIME",
            help="When Mercury stops trying. Default: 3 days after --at (MERCURY_EXPIRY).",
        )

    def action_request(self, options: dict[str, Any]) -> ActionRequest:
        """Return the action request, with the times."""
        send_at = parse_time("--at", options["at"])
        expires_at = parse_time("--expires", options["expires"]) if options["expires"] else None
        return replace(super().action_request(options), times=plan_times(send_at, expires_at))
