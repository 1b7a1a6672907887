"""`manage.py reprocess`: send emails again that were not sent."""

from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.actions import rules
from mails.actions.errors import AccountNotUsable
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from mails.management.action_commands import ActionCommand
from mails.states import Action
from mercury.lib.commands import ExitCode


class Command(ActionCommand):
    """Reprocess emails."""

    help = (
        "Send discarded, expired, waiting or held emails again. Each starts over with all accounts; --via and --not-tried "
        "limit them. Skipped by default: emails that may already have been sent, and emails rejected because of their "
        "content if every account was tried. To include these, name them by id, or use --reason or an --include option. "
        "Use `resolve` for emails held because their outcome is unknown."
    )
    action = Action.REPROCESS

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument(
            "--refusals-of",
            metavar="ACCOUNT",
            help="Only emails discarded by this account during an outage in which it rejected everything.",
        )
        parser.add_argument(
            "--include-uncertain", action="store_true", help="Also emails that may already have been sent."
        )
        parser.add_argument(
            "--include-rejected", action="store_true", help="Also emails rejected because of their content."
        )
        through = parser.add_mutually_exclusive_group()
        through.add_argument("--via", metavar="ACCOUNT", help="Use only this account, in every retry round.")
        through.add_argument(
            "--not-tried", action="store_true", help="Use only accounts that have no recorded attempt for the email."
        )

    def action_request(self, options: dict[str, Any]) -> ActionRequest:
        """Return the action request, with the accounts to use."""
        account_choice = AccountChoice(not_tried=options["not_tried"], via=options["via"] or "")
        try:
            rules.check_account_choice(account_choice)
        except AccountNotUsable as wrong:
            raise CommandError(str(wrong), returncode=ExitCode.USAGE_ERROR) from None
        return replace(super().action_request(options), account_choice=account_choice)
