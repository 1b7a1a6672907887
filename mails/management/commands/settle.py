"""`manage.py settle`: say what became of mails whose outcome is unknown."""

from dataclasses import replace
from typing import Any

from django.core.management.base import CommandParser

from mails.lifecycle.action_requests import Order
from mails.management.steering import SteeringCommand
from mails.states import Action


class Command(SteeringCommand):
    """Settle mails."""

    help = (
        "Say what became of held mails whose outcome is unknown. Ask the provider for the Message-ID, which "
        "`mail ID --raw` shows: --sent ends the mail as sent, --not-sent queues it for the next account."
    )
    action = Action.SENT
    with_filters = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        outcome = parser.add_mutually_exclusive_group(required=True)
        outcome.add_argument("--sent", action="store_true", help="The provider took it.")
        outcome.add_argument("--not-sent", action="store_true", help="The provider never had it.")

    def order(self, options: dict[str, Any]) -> Order:
        """The order that the outcome means."""
        return replace(super().order(options), action=Action.SENT if options["sent"] else Action.NOT_SENT)
