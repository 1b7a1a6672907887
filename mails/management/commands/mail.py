"""`manage.py mail ID`: one mail and what happened to it."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails import timeline
from mails.management import terminal
from mails.message import mime
from mails.models import Event, Mail
from mercury.lib import commands
from mercury.lib.commands import Exit


class Command(commands.MercuryCommand):
    """Show one mail."""

    help = "Show a mail: where it stands, and its timeline with the reasons of each choice."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("id", help="The mail's id, as the API, its page and `mails` show it.")
        shown = parser.add_mutually_exclusive_group()
        shown.add_argument("--events", action="store_true", help="The events as recorded, one a line.")
        shown.add_argument("--raw", action="store_true", help="The message's source, as a provider is handed it.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Find it and show what was asked for."""
        mail = _found(options["id"])
        if options["raw"] and mail.text_removed_at:
            raise CommandError(f"Its text was removed on {mail.text_removed_at:%Y-%m-%d %H:%M} UTC by retention.")
        if options["raw"]:
            source = _source(mail)
            out.exact(source)
            out.document({"id": str(mail.pk), "source": source.decode("ascii")})
        elif options["events"]:
            events = Event.objects.of(mail.pk).order_by("id")
            out.rows(
                map(terminal.event_as_json, events),
                columns={"id": "Id", "created_at": "Nanoseconds", "created_by": "By", "event": "Event", "blob": "Blob"},
                empty="No event.",
            )
        else:
            terminal.show_hold(out)
            story = timeline.story(mail, timezone.now())
            terminal.show_story(out, story, reasons=True)
            out.document({**terminal.mail_as_json(mail), "verdict": story.verdict, "events": _events(mail)})
        return None


def _found(text: str) -> Mail:
    try:
        mail = Mail.objects.filter(pk=UUID(text)).first()
    except ValueError:
        mail = None
    if mail is None:
        raise CommandError(f"No mail has the id '{text}'. `manage.py mails --search` finds one by its words.")
    return mail


def _events(mail: Mail) -> list[dict[str, object]]:
    return [terminal.event_as_json(event) for event in Event.objects.of(mail.pk).order_by("id")]


def _source(mail: Mail) -> bytes:
    recipients = list(mail.recipients.order_by("id").values_list("address", flat=True))
    return mime.source(mail, recipients=recipients, text=mime.whole_text(mail))
