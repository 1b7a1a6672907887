"""`manage.py mail ID`: show one email and what happened to it."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails.management import mail_display
from mails.message import mime
from mails.models import DownloadLink, Event, Mail, MailFile
from mails.timeline.story import read_story
from mercury.lib import commands
from mercury.lib.commands import ExitCode


class Command(commands.MercuryCommand):
    """Show one email."""

    help = "Show an email's status and timeline, with the reason for each decision."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("id", help="Email id, as shown by `mails`.")
        shown = parser.add_mutually_exclusive_group()
        shown.add_argument("--events", action="store_true", help="Show the events as recorded, one per line.")
        shown.add_argument("--raw", action="store_true", help="Show the message source as sent to a provider.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Find the email and show the requested view."""
        mail = _find(options["id"])
        if options["raw"] and mail.text_removed_at:
            raise CommandError(
                f"The body was deleted on {mail.text_removed_at:%Y-%m-%d %H:%M} UTC by retention (MERCURY_BODY_RETENTION)."
            )
        if options["raw"]:
            source = mime.render_source(mail, mime.read_message(mail))
            out.write_exact(source)
            out.write_document({"id": str(mail.pk), "source": source.decode("ascii")})
        elif options["events"]:
            events = Event.objects.of(mail.pk).order_by("id")
            out.write_rows(
                map(mail_display.serialize_event, events),
                columns={"id": "Id", "created_at": "Nanoseconds", "created_by": "By", "event": "Event", "blob": "Blob"},
                empty="No events.",
            )
        else:
            mail_display.show_pauses(out)
            story = read_story(mail, timezone.now())
            message = mime.read_beginning(mail, recipients=story.recipients)
            files: list[MailFile | DownloadLink] = [
                *MailFile.objects.filter(mail=mail),
                *DownloadLink.objects.filter(mail=mail),
            ]
            mail_display.show_story(out, story, message, files, reasons=True)
            out.write_document(
                {
                    **mail_display.serialize_mail(mail),
                    **mail_display.serialize_message(message, files),
                    "summary": story.summary,
                    "events": _list_events(mail),
                }
            )
        return None


def _find(text: str) -> Mail:
    try:
        mail = Mail.objects.filter(pk=UUID(text)).first()
    except ValueError:
        mail = None
    if mail is None:
        raise CommandError(f"No email with id '{text}'. Search with: manage.py mails --search TEXT")
    return mail


def _list_events(mail: Mail) -> list[dict[str, object]]:
    return [mail_display.serialize_event(event) for event in Event.objects.of(mail.pk).order_by("id")]
