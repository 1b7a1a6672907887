"""`manage.py send`: submit an email and follow it."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails.intake import submission
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.submission import Submission
from mails.management import foreground_dispatch, mail_display
from mails.management.receipts import require_acceptable, require_stored
from mails.models import Mail
from mails.obstacles import find_obstacles
from mails.states import Source, Status
from mails.timeline.summary import choose_badge, introduce, summarize
from mercury.lib import commands, input_files
from mercury.lib.commands import ExitCode

DEFAULT_WAIT = 60.0  # seconds
_OPTIONAL = (
    *("cc", "bcc", "reply_to", "tags", "unsubscribe_url", "unsubscribe_mailto"),
    *("delivery_guarantee", "queue", "send_at", "expires_at"),
)


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
        for option, name in (("--to", "recipient"), ("--cc", "cc"), ("--bcc", "bcc"), ("--reply-to", "reply_to")):
            _add_field(parser, option, name, action="append", default=[], metavar="ADDRESS", more="Repeatable.")
        _add_field(parser, "--subject", "subject", default="", more="Default: empty.")
        _add_field(parser, "--text", "content", metavar="FILE", more="A file; - reads standard input. Default: empty.")
        _add_field(parser, "--html", "html", metavar="FILE", more="A file; - reads standard input.")
        parser.add_argument(
            "--attach",
            dest="attachments",
            action="append",
            default=[],
            metavar="FILE",
            help="A file to attach. Its type follows from its name and its content. Repeatable.",
        )
        for option, name in (("--header", "headers"), ("--metadata", "metadata")):
            parser.add_argument(
                option,
                dest=name,
                type=_read_pair,
                action="append",
                default=[],
                metavar="NAME=TEXT",
                help=f"{submission.get_field(name).label}: one name and its text. Repeatable. docs/api.md says what is allowed.",
            )
        _add_field(
            parser, "--tag", "tags", action="append", default=[], metavar="WORD", more="One at a time; repeatable."
        )
        _add_field(parser, "--unsubscribe-url", "unsubscribe_url", metavar="URL")
        _add_field(parser, "--unsubscribe-mailto", "unsubscribe_mailto", metavar="ADDRESS")
        _add_field(parser, "--guarantee", "delivery_guarantee")
        _add_field(parser, "--queue", "queue")
        _add_field(parser, "--at", "send_at", metavar="TIME")
        _add_field(parser, "--expires", "expires_at", metavar="TIME")
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
        data = _collect_fields(options)
        given, client = Submission(fields=data, idempotency_key=options["key"]), Client(source=Source.COMMAND)
        if options["dry_run"]:
            require_acceptable(given, client=client)
            named = [address for name in ("recipient", "cc", "bcc") for address in data.get(name, ())]
            out.say(f"Would submit an email from {data['sender']} to {', '.join(named)}.")
            out.write_document(data | {"attachments": options["attachments"]} if options["attachments"] else data)
            return None
        (receipt,) = accept([given], client=client)
        mail = require_stored(receipt)
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


def _collect_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the submission: those that an email always has, and those that were asked for."""
    if options["content"] == options["html"] == "-":
        raise CommandError("Standard input has text or HTML, not both.", returncode=ExitCode.USAGE_ERROR)
    data = {name: options[name] for name in ("sender", "recipient", "subject")}
    data["content"] = _read_body("--text", options["content"])
    if options["html"]:
        data["html"] = _read_body("--html", options["html"])
    if options["attachments"]:
        data["attachments"] = [_read_file(name) for name in options["attachments"]]
    data |= {name: _collect_pairs(name, options[name]) for name in ("headers", "metadata") if options[name]}
    return data | {name: options[name] for name in _OPTIONAL if options[name]}


def _collect_pairs(name: str, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    collected = dict(pairs)
    if len(collected) < len(pairs):
        raise CommandError(f"{name}: a name is given twice.", returncode=ExitCode.USAGE_ERROR)
    return collected


def _read_pair(text: str) -> tuple[str, str]:
    """Return name and text of an option. Either `=` or the `:` of a header may separate them."""
    found = re.fullmatch(r"\s*([^=:]*?)\s*[=:](.*)", text, re.DOTALL)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=TEXT")
    return found[1], found[2].strip(" ")


def _read_body(option: str, name: str | None) -> str:
    if name is None:
        return ""
    try:
        return input_files.read(name, at_most=settings.MERCURY_MAX_SIZE).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{option} {name}: {error}", returncode=ExitCode.USAGE_ERROR) from error


def _read_file(name: str) -> dict[str, object]:
    """Return a file as a submission has it: open, or, if it is a pipe, with what is in it."""
    try:
        file = input_files.open_file(name)
        content: File[bytes] = File(file, name=name)
        if not input_files.is_regular(file):
            content = ContentFile(input_files.read_all(file, at_most=settings.MERCURY_MAX_ATTACHMENT_SIZE))
        elif content.size > settings.MERCURY_MAX_FILE_SIZE:
            raise input_files.build_too_large(settings.MERCURY_MAX_FILE_SIZE)
    except OSError as error:
        raise CommandError(f"--attach {name}: {error}", returncode=ExitCode.USAGE_ERROR) from error
    return {"filename": Path(name).name, "content": content}


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
