"""`manage.py reprocess`: send mails anew that were given up."""

from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.actions import apply
from mails.actions.apply import CannotBeUsed
from mails.lifecycle.action_requests import How, Order
from mails.management.steering import SteeringCommand
from mails.states import Action
from mercury.lib.commands import Exit


class Command(SteeringCommand):
    """Reprocess mails."""

    help = (
        "Send mails anew that were discarded, have expired, wait or are held, through all accounts unless an option "
        "says through which. Left out unless named by id or --reason: mails that may have been sent already, and those "
        "refused for their own sake, where no account is named that did not see them yet. "
        "One that is held for its unknown outcome must be settled instead."
    )
    action = Action.REPROCESS

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument(
            "--refusals-of",
            metavar="ACCOUNT",
            help="Only those that this account ended while it refused everything, before that was noticed.",
        )
        through = parser.add_mutually_exclusive_group()
        through.add_argument("--via", metavar="ACCOUNT", help="Through this account only, in all rounds.")
        through.add_argument(
            "--not-tried", action="store_true", help="Only through accounts that a mail has no attempt on record with."
        )

    def order(self, options: dict[str, Any]) -> Order:
        """The order, with the accounts that it goes through."""
        how = How(not_tried=options["not_tried"], via=options["via"] or "")
        try:
            apply.check(how)
        except CannotBeUsed as wrong:
            raise CommandError(str(wrong), returncode=Exit.WRONG_USE) from None
        return replace(super().order(options), how=how)
