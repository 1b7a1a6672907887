"""Receipts of commands that submit an email: the email, or an error in words."""

from typing import assert_never

from django.core.management.base import CommandError

from mails.intake.receipts import NotStored, Receipt, RefusalReason, Refused, Stored
from mails.models import Mail
from mercury.lib.commands import ExitCode


def require_stored(receipt: Receipt) -> Mail:
    """Return the stored email. Raises CommandError for a refusal, with each error of a field."""
    match receipt:
        case Stored(mail=mail):
            return mail
        case Refused(reason=RefusalReason.INVALID_MAIL, errors=errors):
            listed = "\n".join(f"  {error.place}: {error.detail}" for error in errors)
            raise CommandError(f"Rejected:\n{listed}", returncode=ExitCode.USAGE_ERROR)
        case Refused(detail=detail):
            raise CommandError(detail)
        case NotStored(error=error):
            raise error
        case never:
            assert_never(never)
