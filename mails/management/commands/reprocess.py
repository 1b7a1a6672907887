"""`manage.py reprocess`: send mails anew that were given up."""

from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.management.steering import SteeringCommand
from mails.orders import Order
from mails.states import Action
from mercury.lib.commands import Exit
from providers import registry


class Command(SteeringCommand):
    """Reprocess mails."""

    help = (
        "Send mails anew that were discarded, have expired, wait or are held, through all accounts. Left out unless "
        "named by id or --reason: mails that may have been sent already, and those refused for their own sake. "
        "One that is held for its unknown outcome must be settled instead."
    )
    action = Action.REPROCESS

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--via", metavar="ACCOUNT", help="Through this account in the first round.")

    def order(self, options: dict[str, Any]) -> Order:
        """The order, with the accounts that the first round leaves out."""
        order = super().order(options)
        if not options["via"]:
            return order
        usable = [one.config.name for one in registry.candidates() if one.enabled and one.configured]
        if options["via"] not in usable:
            raise CommandError(
                f"No account '{options['via']}' can be used. Those that can: {', '.join(usable) or 'none'}.",
                returncode=Exit.WRONG_USE,
            )
        return replace(order, left_out=tuple(name for name in usable if name != options["via"]))
