"""`manage.py reprocess`: send emails again that were not sent."""

import argparse
import datetime as dt
import uuid
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.actions import recipients, rules
from mails.actions.errors import AccountNotUsable, ChangesRefused
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from mails.lifecycle.recipient_changes import RecipientChanges
from mails.management.action_commands import CLIENT, ActionCommand
from mails.management.time_options import MOMENT_FORMS, parse_time, plan_times
from mails.message import addresses
from mails.message.addresses import InvalidAddress
from mails.message.message import Mailbox
from mails.models import Mail
from mails.states import Action
from mercury.lib import commands
from mercury.lib.commands import ExitCode
from mercury.lib.database import database_clock


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
        through.add_argument(
            "--via",
            action="append",
            default=[],
            metavar="ACCOUNT",
            help="Use only this account, in every retry round. Repeatable: only these accounts.",
        )
        through.add_argument(
            "--not-tried", action="store_true", help="Use only accounts that have no recorded attempt for the email."
        )

        parser.add_argument(
            "--at", metavar="TIME", help=f"When to send them: {MOMENT_FORMS}, or now. Default: as soon as possible."
        )
        parser.add_argument(
            "--expires",
            type=commands.parse_duration_option,
            metavar="2d",
            help="Stop trying after this time, counted from --at if that is given. Default: as for a new email (MERCURY_EXPIRY).",
        )
        parser.add_argument(
            "--replace",
            type=_read_pair,
            action="append",
            default=[],
            metavar="OLD=NEW",
            help="Replace this recipient by another address. Repeatable. Needs one email id.",
        )
        for option, words in (
            ("--drop", "Leave this recipient out."),
            ("--again", "Send it once more to this recipient, who got it already."),
        ):
            parser.add_argument(
                option,
                type=_read_address,
                action="append",
                default=[],
                metavar="ADDRESS",
                help=f"{words} Repeatable. Needs one email id.",
            )

    def action_request(self, options: dict[str, Any]) -> ActionRequest:
        """Return the action request, with the accounts to use, and changed recipients."""
        account_choice = AccountChoice(not_tried=options["not_tried"], via=",".join(dict.fromkeys(options["via"])))
        try:
            rules.check_account_choice(account_choice)
        except AccountNotUsable as wrong:
            raise CommandError(str(wrong), returncode=ExitCode.USAGE_ERROR) from None
        changes = RecipientChanges(
            replaced=tuple(options["replace"]), dropped=tuple(options["drop"]), again=tuple(options["again"])
        )
        if changes:
            _check_changes(options["ids"], changes)
        return replace(
            super().action_request(options),
            account_choice=account_choice,
            recipients=changes,
            **_read_times(options),
        )


def _read_times(options: dict[str, Any]) -> dict[str, Any]:
    """Return when to send the emails, and when to stop, as an action request has them. Raises CommandError."""
    expires: dt.timedelta | None = options["expires"]
    if options["at"] is None:
        return {"expires_at": database_clock.now() + expires if expires else None}
    send_at = parse_time("--at", options["at"])
    expires_at = (send_at or database_clock.now()) + expires if expires else None
    return {"times": plan_times(send_at, expires_at)}


def _check_changes(ids: list[str], changes: RecipientChanges) -> None:
    """Raise CommandError unless one email is named, and its recipients can be changed so."""
    if len(ids) != 1:
        raise CommandError("--replace, --drop and --again need one email id.", returncode=ExitCode.USAGE_ERROR)
    try:
        mail = Mail.objects.filter(pk=uuid.UUID(ids[0])).prefetch_related("recipients").first()
        if mail is not None:
            recipients.check(mail, changes, CLIENT)
    except ChangesRefused as refused:
        raise CommandError(str(refused), returncode=ExitCode.USAGE_ERROR) from None
    except ValueError:
        return  # the selection names it


def _read_address(text: str) -> str:
    try:
        return addresses.normalize(text.strip())
    except InvalidAddress as error:
        raise argparse.ArgumentTypeError(f"'{text[:100]}': {error}") from error


def _read_pair(text: str) -> tuple[str, Mailbox]:
    old, equals, new = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text[:100]}' is not OLD=NEW, such as hera@olimpus.con=hera@olimpus.com")
    return _read_address(old), Mailbox(address=_read_address(new))
