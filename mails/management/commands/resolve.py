"""`manage.py resolve`: mark emails whose outcome is unknown as sent or not sent."""

from dataclasses import replace
from typing import Any

from django.core.management.base import CommandParser

from mails.lifecycle.action_requests import ActionRequest
from mails.management.action_commands import ActionCommand
from mails.states import Action


class Command(ActionCommand):
    """Resolve unknown outcomes."""

    help = (
        "Resolve held emails whose outcome is unknown. First check with the provider for the Message-ID, which "
        "`mail ID --raw` shows. --sent marks the email as sent, --not-sent queues it for the next account."
    )
    action = Action.SENT
    with_filters = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        outcome = parser.add_mutually_exclusive_group(required=True)
        outcome.add_argument("--sent", action="store_true", help="The provider accepted it: mark it as sent.")
        outcome.add_argument(
            "--not-sent", action="store_true", help="The provider never received it: try the next account."
        )

    def action_request(self, options: dict[str, Any]) -> ActionRequest:
        """Return the action request for the outcome."""
        return replace(super().action_request(options), action=Action.SENT if options["sent"] else Action.NOT_SENT)
