"""`manage.py reschedule`: send emails at another time."""

import datetime as dt
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.actions import rules
from mails.actions.errors import TimesNotAllowed
from mails.lifecycle.action_requests import ActionRequest
from mails.management.action_commands import ActionCommand
from mails.states import Action
from mercury.lib.commands import ExitCode
from mercury.lib.moments import MomentError, parse_moment

_FORMS = "2026-12-24T18:00:00Z, 2026-12-24T19:00[Europe/Berlin]"


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
        parser.add_argument("--at", required=True, metavar="TIME", help=f"When to send them: {_FORMS}, or now.")
        parser.add_argument(
            "--expires",
            metavar="TIME",
            help="When Mercury stops trying. Default: 3 days after --at (MERCURY_EXPIRY).",
        )

    def action_request(self, options: dict[str, Any]) -> ActionRequest:
        """Return the action request, with the times."""
        send_at = None if options["at"] == "now" else _parse("--at", options["at"])
        expires_at = _parse("--expires", options["expires"]) if options["expires"] else None
        try:
            times = rules.plan_times(send_at, expires_at)
        except TimesNotAllowed as refused:
            listed = " ".join(f"{_OPTIONS[error.field]}: {error.detail}" for error in refused.errors)
            raise CommandError(listed, returncode=ExitCode.USAGE_ERROR) from None
        return replace(super().action_request(options), times=times)


_OPTIONS = {"send_at": "--at", "expires_at": "--expires"}


def _parse(option: str, text: str) -> dt.datetime:
    try:
        return parse_moment(text)
    except MomentError as error:
        raise CommandError(f"{option}: '{text}' {error.fault}", returncode=ExitCode.USAGE_ERROR) from None
