"""`manage.py send`: submit an email and follow it."""

from pathlib import Path
from typing import Any, assert_never

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails.intake import submission
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.receipts import NotStored, RefusalReason, Refused, Stored
from mails.intake.submission import Submission
from mails.management import foreground_dispatch, mail_display
from mails.models import Mail
from mails.obstacles import find_obstacles
from mails.states import Source, Status
from mails.timeline.summary import choose_badge, introduce, summarize
from mercury.lib import commands
from mercury.lib.commands import ExitCode

DEFAULT_WAIT = 60.0  # seconds


class Command(commands.MercuryCommand):
    """Submit an email."""

    help = (
        "Submit an email. With --wait, show its timeline as it grows; the exit code is then 0 if a provider accepted it, "
        "1 if it was not sent, 4 if it is held, or still pending when the time is up."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        _add_field(parser, "--from", "sender", required=True, metavar="ADDRESS")
        _add_field(parser, "--to", "recipient", required=True, action="append", metavar="ADDRESS", more="Repeatable.")
        _add_field(parser, "--subject", "subject", default="", more="Default: empty.")
        _add_field(parser, "--text", "content", metavar="FILE", more="A file; - reads standard input. Default: empty.")
        _add_field(parser, "--guarantee", "delivery_guarantee")
        _add_field(parser, "--queue", "queue")
        parser.add_argument("--key", help="Idempotency key: the same key within 24 hours returns the same email.")
        parser.add_argument(
            "--wait",
            type=commands.parse_duration_option,
            nargs="?",
            const=commands.parse_duration_option(str(DEFAULT_WAIT)),
            metavar="60s",
            help="Wait up to this long for the final state. Default without a value: 60s.",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Submit the email, and with --wait follow it."""
        data = {name: options[name] for name in ("sender", "recipient", "subject")}
        data["content"] = _read_body(options["content"])
        data |= {name: options[name] for name in ("delivery_guarantee", "queue") if options[name]}
        if options["dry_run"]:
            out.say(f"Would submit an email from {data['sender']} to {', '.join(data['recipient'])}.")
            out.write_document(data)
            return None
        mail = _submit(data, options["key"])
        out.say(f"{mail.pk}")
        out.say(mail_display.build_mail_url(mail))
        code = _follow(out, mail, options["wait"].total_seconds()) if options["wait"] else None
        out.write_document(mail_display.serialize_mail(mail))
        return code


def _add_field(parser: CommandParser, option: str, name: str, more: str = "", **settings: Any) -> None:
    """Add the option for a field of a submission, with the help and choices of its declaration."""
    field = submission.get_field(name)
    words = str(field.help_text).replace("`", "")
    if hasattr(field, "choices"):
        settings["choices"] = list(field.choices)
    parser.add_argument(option, dest=name, help=f"{words} {more}".strip(), **settings)


def _read_body(name: str | None) -> str:
    if name is None:
        return ""
    try:
        return commands.read_stdin() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--text {name}: {error}", returncode=ExitCode.USAGE_ERROR) from error


def _submit(data: dict[str, object], key: str | None) -> Mail:
    (receipt,) = accept([Submission(fields=data, idempotency_key=key)], client=Client(source=Source.COMMAND))
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


def _follow(out: commands.Output, mail: Mail, seconds: float) -> ExitCode | None:
    out.say()
    with foreground_dispatch.dispatch([mail.queue]):
        foreground_dispatch.follow_mail(out, mail, seconds=seconds)
    badge = choose_badge(mail)
    out.say()
    out.say(introduce(badge, summarize(mail, timezone.now(), find_obstacles(mail))), tone=badge.tone)
    if mail.status == Status.DONE:
        return None
    return ExitCode.FAILED if mail.status in foreground_dispatch.ENDED_STATES - {Status.HELD} else ExitCode.TIMED_OUT
