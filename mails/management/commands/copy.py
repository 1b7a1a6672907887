"""`manage.py copy`: send a copy of an email as a new one."""

import uuid
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.intake import copies, submission
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.management import mail_display
from mails.management.receipts import require_acceptable, require_stored
from mails.models import Mail
from mails.states import Actor, Source
from mercury.lib import commands
from mercury.lib.commands import ExitCode

_RECIPIENTS = ("recipient", "cc", "bcc")


class Command(commands.MercuryCommand):
    """Send a copy of an email."""

    help = (
        "Submit a new email with all parts of a stored one, with its own id and Message-ID: to the same recipients, blind "
        "copies too, or to others. Use `reprocess` for an email that was not sent: it keeps its id."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("id", help="Email id, as shown by `mails`.")
        for option, name in (("--to", "recipient"), ("--cc", "cc"), ("--bcc", "bcc")):
            label = submission.get_field(name).label
            parser.add_argument(
                option,
                dest=name,
                action="append",
                default=[],
                metavar="ADDRESS",
                help=f"{label} instead of all recipients of the email. Repeatable.",
            )
        parser.add_argument("--key", help="Idempotency key: the same key within 24 hours returns the same copy.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Submit the copy."""
        mail = _find(options["id"])
        recipients = {name: options[name] for name in _RECIPIENTS if options[name]}
        try:
            copy = copies.build_copy(mail, recipients=recipients, by=Actor.COMMAND, key=options["key"])
        except copies.NotCopyable as refused:
            raise CommandError(str(refused)) from None
        client = Client(source=Source.COMMAND)
        if options["dry_run"]:
            require_acceptable(copy, client=client)
            named = [_get_address(item) for name in _RECIPIENTS for item in _list(copy.fields.get(name))]
            out.say(f"Would send a copy of {mail.pk} to {', '.join(named)}.")
            out.write_document({"copy_of": str(mail.pk), "recipients": named})
            return None
        (receipt,) = accept([copy], client=client)
        stored = require_stored(receipt)
        out.say(f"{stored.pk}")
        out.say(mail_display.build_mail_url(stored))
        out.write_document(mail_display.serialize_mail(stored))
        return None


def _find(text: str) -> Mail:
    try:
        mail = Mail.objects.filter(pk=uuid.UUID(text)).first()
    except ValueError:
        mail = None
    if mail is None:
        raise CommandError(f"No email with id '{text}'. Search with: manage.py mails --search TEXT")
    return mail


def _list(items: Any) -> list[Any]:
    return list(items or ())


def _get_address(item: Any) -> str:
    return str(item["email"] if isinstance(item, dict) else item)
