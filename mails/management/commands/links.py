"""`manage.py links`: download links of large files."""

import uuid
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.actions import downloads
from mails.files import links
from mails.models import DownloadLink
from mails.states import Actor
from mercury.lib import commands
from mercury.lib.commands import ExitCode
from mercury.lib.database import database_clock
from mercury.lib.durations import format_size

COLUMNS = {
    "id": "Id",
    "state": "State",
    "filename": "File",
    "size": "Size",
    "downloads": "Downloads",
    "expires_at": "Expires",
    "mail": "Email",
}
TONES = {"valid": "ok", "revoked": "bad", "expired": "waiting", "used up": "waiting", "removed": "bad"}
SHOWN = 100  # unless --limit says otherwise


class Command(commands.MercuryCommand):
    """List and revoke download links."""

    help = "List the download links of large files, newest first, and revoke them."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        listing = commands.add_subcommand(words, "list", "List links, newest first.")
        listing.add_argument("--mail", type=uuid.UUID, metavar="ID", help="Only those of this email.")
        listing.add_argument(
            "--limit",
            type=commands.parse_integer_option(1, 100_000),
            default=SHOWN,
            metavar="N",
            help=f"Show at most this number of links (default: {SHOWN}).",
        )
        revoke = commands.add_subcommand(words, "revoke", "End links now, permanently.", makes_changes=True)
        revoke.add_argument("ids", nargs="+", type=uuid.UUID, metavar="ID", help="The links, as shown by `list`.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        return _list(out, options) if options["word"] == "list" else _revoke(out, options)


def _list(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    found = DownloadLink.objects.order_by("-id")
    if options["mail"]:
        found = found.filter(mail_id=options["mail"])
    rows = (_as_row(link) for link in found[: options["limit"]])
    out.write_rows(rows, columns=COLUMNS, tones=TONES, empty="There are no download links.")
    return None


def _revoke(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    found = {link.pk: link for link in DownloadLink.objects.filter(pk__in=options["ids"])}
    if missing := [str(link_id) for link_id in options["ids"] if link_id not in found]:
        raise CommandError(f"There is no download link {missing[0]}. List them with: manage.py links list")
    names = ", ".join(link.filename for link in found.values())
    if options["dry_run"]:
        out.say(f"Would revoke the links to {names}.")
        out.write_document({"revoked": 0})
        return None
    if not out.ask(f"Revoke the links to {names}? Nobody can download these files by them any more."):
        return ExitCode.FAILED
    revoked = sum(downloads.revoke_link(link, by=Actor.COMMAND) for link in found.values())
    out.say(f"{revoked} of {len(found)} links were revoked; the others had ended before.")
    out.write_document({"revoked": revoked})
    return None


def _as_row(link: DownloadLink) -> dict[str, object]:
    limit = "" if link.max_downloads is None else f" of {link.max_downloads}"
    return {
        "id": str(link.pk),
        "state": links.get_state(link, database_clock.now()).value,
        "filename": link.filename,
        "size": format_size(link.size),
        "downloads": f"{link.downloads}{limit}",
        "expires_at": link.expires_at,
        "mail": str(link.mail_id),
    }
