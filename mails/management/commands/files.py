"""`manage.py files`: list uploaded files, show one, and remove those that no email uses."""

import uuid
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.files import usage
from mails.files.usage import FileInUse
from mails.models import StoredFile
from mails.models.querysets import StoredFileQuerySet
from mercury.lib import commands
from mercury.lib.commands import ExitCode
from mercury.lib.durations import format_size

COLUMNS = {
    "id": "Id",
    "filename": "File",
    "size_words": "Size",
    "content_type": "Type",
    "owner": "Uploaded by",
    "used_words": "Used",
    "created_at": "Uploaded",
    "expires_at": "Expires",
}
SHOWN = 100  # unless --limit says otherwise


class Command(commands.MercuryCommand):
    """List, show and remove uploaded files."""

    help = "List the files that clients uploaded, newest first, show one, and remove those that no email uses."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        listing = commands.add_subcommand(words, "list", "List uploaded files, newest first.")
        listing.add_argument("--unused", action="store_true", help="Only those that no email uses.")
        listing.add_argument(
            "--limit",
            type=commands.parse_integer_option(1, 100_000),
            default=SHOWN,
            metavar="N",
            help=f"Show at most this number of files (default: {SHOWN}).",
        )
        show = commands.add_subcommand(words, "show", "Show a file, and the emails that use it.")
        show.add_argument("id", type=uuid.UUID, metavar="ID", help="The file, as shown by `list`.")
        remove = commands.add_subcommand(words, "remove", "Remove files that no email uses.", makes_changes=True)
        remove.add_argument(
            "ids", nargs="+", type=uuid.UUID, metavar="ID", help="The files, as shown by `list --unused`."
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        return {"list": _list, "show": _show, "remove": _remove}[options["word"]](out, options)


def _list(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    found = _select()
    if options["unused"]:
        found = found.filter(is_used=False)  # type: ignore[misc]  # annotated
    rows = (_as_row(file) for file in found.order_by("-id")[: options["limit"]])
    out.write_rows(
        rows, columns=COLUMNS, empty="There are no such files." if options["unused"] else "No file is uploaded."
    )
    return None


def _show(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    file = _select().filter(pk=options["id"]).first()
    if file is None:
        raise _build_missing(options["id"])
    row, emails = _as_row(file), usage.list_emails(file)
    for name, label in COLUMNS.items():
        out.say(f"  {label:<12} {row[name]}")
    out.say(f"  {'SHA-256':<12} {file.content_id or 'not complete'}")
    for mail_id in emails:
        out.say(f"  {'Email':<12} {mail_id}")
    if len(emails) == usage.SHOWN:
        out.say(f"  The newest {usage.SHOWN} emails are shown.")
    out.write_document({**row, "sha256": file.content_id, "emails": [str(mail_id) for mail_id in emails]})
    return None


def _remove(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    found = {file.pk: file for file in _select().filter(pk__in=options["ids"])}
    if missing := [file_id for file_id in options["ids"] if file_id not in found]:
        raise _build_missing(missing[0])
    names = ", ".join(file.filename for file in found.values())
    if used := next((file for file in found.values() if file.is_used), None):  # type: ignore[attr-defined]  # annotated
        raise CommandError(str(FileInUse(used)))
    if options["dry_run"]:
        out.say(f"Would remove {names}.")
        out.write_document({"removed": 0})
        return None
    if not out.ask(f"Remove {names}? Their clients can no longer refer to them."):
        return ExitCode.FAILED
    try:
        removed = usage.remove(found)
    except FileInUse as error:
        raise CommandError(str(error)) from error
    out.say(f"{removed} removed.")
    out.write_document({"removed": removed})
    return None


def _select() -> StoredFileQuerySet:
    return usage.annotate(StoredFile.objects.select_related("api_key", "user"))


def _build_missing(file_id: uuid.UUID) -> CommandError:
    return CommandError(f"There is no uploaded file {file_id}. List them with: manage.py files list")


def _as_row(file: StoredFile) -> dict[str, object]:
    is_used: bool = file.is_used  # type: ignore[attr-defined]  # annotated
    return {
        "id": str(file.pk),
        "filename": file.filename,
        "size": file.size,
        "received": file.received,
        "size_words": _format_size(file),
        "content_type": file.content_type,
        "owner": file.owner,
        "used": is_used,
        "used_words": "yes" if is_used else "no",
        "created_at": file.created_at,
        "expires_at": file.expires_at,
    }


def _format_size(file: StoredFile) -> str:
    size = format_size(file.size)
    return size if file.received == file.size else f"{format_size(file.received)} of {size}"
