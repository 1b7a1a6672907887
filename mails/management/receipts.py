"""Receipts of commands that submit an email: the email, or an error in words."""

from typing import assert_never

from django.core.management.base import CommandError

from mails.intake.client import Client
from mails.intake.judge import Judge
from mails.intake.receipts import NotStored, Receipt, RefusalReason, Refused, Stored
from mails.intake.submission import Submission
from mails.models import Mail
from mercury.lib.commands import ExitCode


def require_stored(receipt: Receipt) -> Mail:
    """Return the stored email. Raises CommandError for a refusal, with each error of a field."""
    match receipt:
        case Stored(mail=mail):
            return mail
        case Refused() as refused:
            raise _build_error(refused)
        case NotStored(error=error):
            raise error
        case never:
            assert_never(never)


def require_acceptable(given: Submission, *, client: Client) -> None:
    """Raise CommandError, as `require_stored` does, for an email that would be refused. Stores nothing."""
    if (refused := Judge(client, [given]).judge(given).refused) is not None:
        raise _build_error(refused)


def _build_error(refused: Refused) -> CommandError:
    if refused.reason == RefusalReason.INVALID_MAIL:
        listed = "\n".join(f"  {error.place}: {error.detail}" for error in refused.errors)
        return CommandError(f"Rejected:\n{listed}", returncode=ExitCode.USAGE_ERROR)
    return CommandError(refused.detail)
