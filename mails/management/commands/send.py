"""`manage.py send`: hand a mail in from the command line, and watch it."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails import stops, submission, timeline
from mails.intake.accept import Client, IntakeError, accept
from mails.management import foreground, terminal
from mails.models import Mail
from mails.states import Policy, Source, Status
from mails.submission import InvalidSubmission
from mercury.lib import commands
from mercury.lib.commands import Exit

WAIT = 60.0  # seconds, where --wait names none


class Command(commands.MercuryCommand):
    """Send a mail."""

    help = (
        "Hand a mail in. With --wait its timeline is shown as it grows, and the exit code is 0 if a provider took it, "
        "1 if none would, 4 if it is still open when the time is over."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--from", dest="sender", required=True, metavar="ADDRESS")
        parser.add_argument(
            "--to", dest="recipients", required=True, action="append", metavar="ADDRESS", help="Repeatable."
        )
        parser.add_argument("--subject", default="")
        parser.add_argument("--text", metavar="FILE", help="The body; - reads it from the standard input.")
        parser.add_argument("--policy", choices=Policy.values, help="What follows a call whose outcome is not known.")
        parser.add_argument(
            "--lane", choices=submission.LANES, help="bulk: mass mail, which keeps no other mail waiting."
        )
        parser.add_argument("--key", help="Idempotency key: repeated within 24 hours, it gives the same mail.")
        parser.add_argument(
            "--wait",
            type=commands.duration,
            nargs="?",
            const=commands.duration(str(WAIT)),
            metavar="60s",
            help="Wait for its end, at most so long.",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Hand it in, and wait if that is wanted."""
        data = {key: options[key] for key in ("sender", "recipients", "subject")} | {"content": _text(options["text"])}
        data |= {key: options[key] for key in ("policy", "lane") if options[key]}
        if options["dry_run"]:
            out.say(f"Would hand in a mail from {data['sender']} to {', '.join(data['recipients'])}.")
            out.document(data)
            return None
        mail = _accepted(data, options["key"])
        out.say(f"{mail.pk}")
        out.say(terminal.mail_page(mail))
        code = _waited(out, mail, options["wait"].total_seconds()) if options["wait"] else None
        out.document(terminal.mail_as_json(mail))
        return code


def _text(name: str | None) -> str:
    if name is None:
        return ""
    try:
        return commands.read_stdin() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--text {name}: {error}", returncode=Exit.WRONG_USE) from error


def _accepted(data: dict[str, object], key: str | None) -> Mail:
    try:
        return accept(data, client=Client(Source.COMMAND), idempotency_key=key).mail
    except InvalidSubmission as invalid:
        faults = "\n".join(f"  {error.field}: {error.detail}" for error in invalid.errors)
        raise CommandError(f"Not taken:\n{faults}", returncode=Exit.WRONG_USE) from invalid
    except IntakeError as error:
        raise CommandError(str(error)) from error


def _waited(out: commands.Output, mail: Mail, seconds: float) -> Exit | None:
    out.say()
    with foreground.draining([mail.lane]):
        foreground.follow(out, mail, seconds=seconds)
    badge = timeline.badge(mail)
    out.say()
    out.say(f"{badge.word}. {timeline.verdict(mail, timezone.now(), stops.over(mail))}", tone=badge.tone)
    if mail.status == Status.DONE:
        return None
    return Exit.FAILED if mail.status in foreground.ENDED - {Status.HELD} else Exit.WAITED_IN_VAIN
