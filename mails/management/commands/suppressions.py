"""`manage.py suppressions`: the list of addresses that get no email."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.message.addresses import InvalidAddress
from mails.models import Suppression
from mails.states import SuppressionReason
from mails.suppression import check, csv_export, csv_import, entries, keys, rules
from mails.suppression.rules import InvalidEntry
from mercury.lib import commands, input_files
from mercury.lib.audit.log import COMMAND_LINE
from mercury.lib.commands import ExitCode
from mercury.lib.database import database_clock

COLUMNS = {
    "address": "Address",
    "scope": "Email from",
    "reason": "Reason",
    "since": "Since",
    "expires": "Expires",
    "source": "Source",
    "detail": "Detail",
}
SHOWN = 100  # unless --limit says otherwise


class Command(commands.MercuryCommand):
    """List, add, remove, import, export and check suppressions."""

    help = "Manage the suppression list: the addresses that get no email, from anybody or from one sender domain."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        listing = commands.add_subcommand(words, "list", "List entries, newest first.")
        listing.add_argument("--address", metavar="ADDRESS", help="Only those of this address.")
        listing.add_argument("--reason", choices=SuppressionReason.values, metavar="REASON", help="Only with this one.")
        listing.add_argument(
            "--limit",
            type=commands.parse_integer_option(1, 100_000),
            default=SHOWN,
            metavar="N",
            help=f"Show at most this number of entries (default: {SHOWN}).",
        )
        add = commands.add_subcommand(words, "add", "Suppress an address.", makes_changes=True)
        add.add_argument("address", help="The address.")
        _add_scope(add)
        add.add_argument(
            "--reason",
            choices=SuppressionReason.values,
            default=SuppressionReason.MANUAL.value,
            metavar="REASON",
            help=f"One of {', '.join(SuppressionReason.values)} (default: manual).",
        )
        add.add_argument("--detail", default="", metavar="TEXT", help="Why, in words.")
        add.add_argument(
            "--expires", type=commands.parse_duration_option, metavar="90d", help="How long. Default: for ever."
        )
        remove = commands.add_subcommand(words, "remove", "Let an address get email again.", makes_changes=True)
        remove.add_argument("address", help="The address.")
        _add_scope(remove)
        importing = commands.add_subcommand(words, "import", "Add the entries of a CSV file.", makes_changes=True)
        importing.add_argument("file", metavar="FILE", help="The file, with a header that has 'address'; - for stdin.")
        commands.add_subcommand(words, "export", "Write the whole list as CSV to standard output.")
        checking = commands.add_subcommand(words, "check", "Say whether an address gets email, and why not.")
        checking.add_argument("address", help="The address.")
        checking.add_argument("--sender", metavar="ADDRESS", help="From this sender. Default: from anybody.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        words = {
            "list": _list,
            "add": _add,
            "remove": _remove,
            "import": _import,
            "export": self._export,
            "check": _check,
        }
        return words[options["word"]](out, options)

    def _export(self, out: commands.Output, options: dict[str, Any]) -> None:
        """Write CSV; with --json one object per line."""
        everything = Suppression.objects.all()
        if out.as_json:
            out.write_rows(map(_as_row, everything.order_by("pk").iterator()), columns=COLUMNS, empty="")
            return
        for part in csv_export.export(everything):
            self.stdout.write(part, ending="")


def _add_scope(parser: CommandParser) -> None:
    parser.add_argument("--scope", metavar="DOMAIN", help="Email from this sender domain. Default: all email.")


def _list(out: commands.Output, options: dict[str, Any]) -> None:
    found = Suppression.objects.order_by("-id")
    if options["address"]:
        found = found.filter(address=_parse(keys.normalize, "address", options["address"]))
    if options["reason"]:
        found = found.filter(reason=options["reason"])
    rows = (_as_row(entry) for entry in found[: options["limit"]])
    out.write_rows(rows, columns=COLUMNS, empty="There are no suppressions.")


def _add(out: commands.Output, options: dict[str, Any]) -> None:
    now = database_clock.now()
    expires = (now + options["expires"]).isoformat() if options["expires"] else ""
    fields = {name: options[name] or "" for name in ("address", "scope", "reason", "detail")} | {"expires": expires}
    try:
        entry = rules.parse_for_adding(fields, now)
    except InvalidEntry as invalid:
        raise CommandError(str(invalid)) from invalid
    whose = _describe_scope(entry.scope)
    if options["dry_run"]:
        before = entries.load([(entry.address, entry.scope)]).get((entry.address, entry.scope))
        change = entries.decide(before, entry, now)
        out.say(f"Would suppress {entry.address} for {whose} ({change}).")
    else:
        (change,) = entries.put([entry], source=COMMAND_LINE)
        out.say(f"{entry.address} gets no more email: suppressed for {whose} ({change}).")
    out.write_document({"address": entry.address, "scope": entry.scope, "change": change})


def _remove(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    address = _parse(keys.normalize, "address", options["address"])
    scope = _parse(keys.normalize_scope, "scope", options["scope"] or "")
    found = list(Suppression.objects.filter(address=address, scope=scope))
    if not found:
        raise CommandError(f"{address} is not suppressed for {_describe_scope(scope)}. {_hint(address)}")
    if options["dry_run"]:
        out.say(f"Would remove {address}, suppressed for {_describe_scope(scope)}.")
        out.write_document({"removed": 0})
        return None
    if not out.ask(f"Let {address} get email again ({found[0].reason})?"):
        return ExitCode.FAILED
    removed = entries.remove(found, by=COMMAND_LINE)
    out.say(f"{address} gets email again.")
    out.write_document({"removed": removed})
    return None


def _hint(address: str) -> str:
    others = [entry.scope for entry in Suppression.objects.filter(address=address)]
    if not others:
        return "List the entries with: manage.py suppressions list"
    return f"It is suppressed for {', '.join(map(_describe_scope, others))}: see --scope."


def _import(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    try:
        file = input_files.open_file(options["file"])
    except OSError as error:
        raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from error
    with file, out.show_progress("Importing") as bar:
        report = csv_import.import_csv(
            file,
            source=COMMAND_LINE,
            dry_run=options["dry_run"],
            on_progress=lambda done: bar.show(done, note=f"{done:,} rows"),
        )
    for found in report.errors:
        out.say(str(found), tone="bad")
    if report.invalid:
        out.say(f"Nothing was imported: {report.invalid:,} lines have errors. Correct them and import the file again.")
    else:
        words = "Would add" if options["dry_run"] else "Added"
        out.say(
            f"{words} {report.added:,}, update {report.updated:,}, skip {report.skipped:,} of {report.rows:,} rows."
        )
    out.write_document(report.as_document())
    return ExitCode.FAILED if report.invalid else None


def _check(out: commands.Output, options: dict[str, Any]) -> None:
    address = _parse(keys.normalize, "address", options["address"])
    sender = _parse(keys.normalize, "sender", options["sender"]) if options["sender"] else ""
    found = check.find([address], database_clock.now()).find(address, sender=sender)
    out.say(f"{address}: {found.sentence}" if found else f"{address} is not suppressed.")
    out.write_document({"suppressed": found is not None, **(found.as_blob(address) if found else {"address": address})})


def _parse(parse: Any, name: str, text: str) -> str:
    try:
        parsed: str = parse(text)
    except InvalidAddress as error:
        raise CommandError(f"{name}: {error}") from error
    return parsed


def _describe_scope(scope: str) -> str:
    return f"email from {scope}" if scope else "all email"


def _as_row(entry: Suppression) -> dict[str, object]:
    return {
        "id": entry.pk,
        "address": entry.address,
        "scope": entry.scope,
        "reason": entry.reason,
        "detail": entry.detail,
        "source": entry.source,
        "since": entry.created_at,
        "expires": entry.expires_at,
        "mail": entry.mail_id,
    }
