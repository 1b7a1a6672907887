"""`manage.py rules`: routing rules, and the preview of a routing decision."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.intake.client import Client
from mails.intake.receipts import Refused
from mails.intake.route_preview import RoutePreview, preview_mail, preview_submission
from mails.management import rule_options
from mails.models import ApiKey, Mail, RoutingRule
from mails.obstacles import SendingConditions
from mails.routing import changes, review
from mails.routing.book import load_rule
from mails.routing.changes import RuleNotFound
from mails.routing.drafts import RuleDraft, RuleInvalid, read_draft
from mails.states import Actor, Source
from mercury.lib import commands
from mercury.lib.commands import ExitCode

COLUMNS = {"position": "Place", "name": "Name", "state": "State", "sentence": "Rule", "note": "Note"}
TONES = {"active": "ok", "disabled": "waiting"}
_PLACE = commands.parse_integer_option(1, changes.MAX_RULES)


class Command(commands.MercuryCommand):
    """List, change and preview routing rules."""

    help = "List routing rules in their order, change them, and preview which account an email would get."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        commands.add_subcommand(words, "list", "List the rules, in the order in which they are asked.")
        self._declare_add(commands.add_subcommand(words, "add", "Add a rule.", makes_changes=True))
        for word, text in {
            "remove": "Delete a rule.",
            "enable": "Enable a rule.",
            "disable": "Disable a rule: it matches nothing.",
        }.items():
            named = commands.add_subcommand(words, word, text, makes_changes=True)
            named.add_argument("name", help="Its name, as shown by `list`.")
        move = commands.add_subcommand(words, "move", "Change the place of a rule.", makes_changes=True)
        move.add_argument("name", help="Its name, as shown by `list`.")
        move.add_argument("position", type=_PLACE, help="Its new place, counted from 1.")
        self._declare_preview(
            commands.add_subcommand(words, "preview", "Show which account an email would get, and why.")
        )

    @staticmethod
    def _declare_add(parser: CommandParser) -> None:
        parser.add_argument("name", help="Lower case letters, digits and single dashes, such as eu-only.")
        parser.add_argument(
            "--account",
            dest="accounts",
            action="append",
            default=[],
            metavar="NAME[,priority=N][,weight=N]",
            help="An account that its emails may use. Repeatable.",
        )
        rule_options.declare_conditions(parser)
        parser.add_argument("--position", type=_PLACE, metavar="N", help="Its place, counted from 1. Default: the end.")
        parser.add_argument("--disabled", action="store_true", help="Store it, but let it match nothing yet.")
        parser.add_argument("--note", default="", help="What it is for.")

    @staticmethod
    def _declare_preview(parser: CommandParser) -> None:
        parser.add_argument(
            "--mail", type=uuid.UUID, metavar="ID", help="A stored email; the other options are not used."
        )
        parser.add_argument("--from", dest="sender", metavar="ADDRESS", help="The sender.")
        parser.add_argument(
            "--to", dest="recipient", action="append", default=[], metavar="ADDRESS", help="A recipient. Repeatable."
        )
        parser.add_argument("--subject", default="", help="The subject. Default: empty.")
        parser.add_argument("--text", dest="content", default="", help="The body, as it is. Default: empty.")
        parser.add_argument(
            "--tag", dest="tags", action="append", default=[], metavar="WORD", help="A tag. Repeatable."
        )
        parser.add_argument("--queue", choices=["bulk"], help="The queue that the client asks for.")
        parser.add_argument("--api-key", metavar="NAME", help="The API key that would submit it.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        words = {
            "list": _list,
            "add": _add,
            "remove": _remove,
            "enable": _set_enabled,
            "disable": _set_enabled,
            "move": _move,
            "preview": _preview,
        }
        try:
            words[options["word"]](out, options)
        except (RuleInvalid, RuleNotFound) as refused:
            raise CommandError(str(refused), returncode=ExitCode.USAGE_ERROR) from None
        return None


def _list(out: commands.Output, options: dict[str, Any]) -> None:
    rows = review.list_rules()
    out.write_rows(
        [_as_row(row) for row in rows],
        columns=COLUMNS,
        tones=TONES,
        empty="There are no routing rules: every account may take every email. Add one: manage.py rules add",
    )
    if not options["json"]:
        for name, warnings in review.find_all_warnings(rows).items():
            _warn(out, warnings, before=f"{name}: ")


def _as_row(row: RoutingRule) -> dict[str, object]:
    rule = load_rule(row)
    return {
        "position": row.position,
        "name": row.name,
        "state": "active" if row.enabled else "disabled",
        "sentence": rule.sentence if rule else "not understood by this version",
        "note": row.note,
        "conditions": row.conditions,
        "accounts": row.accounts,
        "changed_by": row.changed_by,
    }


def _add(out: commands.Output, options: dict[str, Any]) -> None:
    draft = _read_draft(options)
    row = draft.to_row(by=Actor.COMMAND)
    if options["dry_run"]:
        changes.check_new(draft)
        warnings = review.find_warnings(review.list_rules(row, options["position"]), row)
        out.say(f"Would add {draft.name}: {_as_row(row)['sentence']}")
    else:
        row = changes.add(draft, by=Actor.COMMAND, position=options["position"])
        warnings = review.find_warnings(review.list_rules(), row)
        out.say(f"{row.name} is added. {_as_row(row)['sentence']}", tone="ok")
    _warn(out, warnings)
    out.write_document({"rule": draft.name, "sentence": _as_row(row)["sentence"], "warnings": warnings})


def _read_draft(options: Mapping[str, Any]) -> RuleDraft:
    given = {
        "name": options["name"],
        "conditions": rule_options.read_conditions(options),
        "accounts": [_read_account(text) for text in options["accounts"]],
        "enabled": not options["disabled"],
        "note": options["note"],
    }
    return read_draft(given, known_accounts=changes.list_known_accounts())


def _read_account(text: str) -> dict[str, Any]:
    """Return an account as `--account` names it: `mailgun-eu,priority=1,weight=3`."""
    name, *settings = text.split(",")
    account: dict[str, Any] = {"account": name.strip()}
    for setting in settings:
        key, _, value = setting.partition("=")
        account[key.strip()] = int(value) if value.strip().isascii() and value.strip().isdigit() else value
    return account


def _remove(out: commands.Output, options: dict[str, Any]) -> None:
    row = changes.find_row(options["name"])
    if not options["dry_run"]:
        changes.remove(row, by=Actor.COMMAND)
    out.say(f"{'Would remove' if options['dry_run'] else 'Removed'} {row.name}: {_as_row(row)['sentence']}")
    out.write_document({"rule": row.name})


def _set_enabled(out: commands.Output, options: dict[str, Any]) -> None:
    row, word = changes.find_row(options["name"]), f"{options['word']}d"
    enabled = options["word"] == "enable"
    changed = row.enabled != enabled
    if not options["dry_run"]:
        changed = changes.set_enabled(row, enabled=enabled, by=Actor.COMMAND)
    if not changed:
        out.say(f"{row.name} is already {word}.")
    else:
        out.say(f"{'Would be' if options['dry_run'] else 'Now'} {word}: {row.name}. {_as_row(row)['sentence']}")
    out.write_document({"rule": row.name, "enabled": enabled, "changed": changed})


def _move(out: commands.Output, options: dict[str, Any]) -> None:
    row = changes.find_row(options["name"])
    if options["dry_run"]:
        order = changes.insert(review.list_rules(), row, options["position"])
    else:
        changes.move(row, options["position"], by=Actor.COMMAND)
        order = review.list_rules()
    names = [other.name for other in order]
    out.say(
        f"{'It would be' if options['dry_run'] else 'Now'} at place {names.index(row.name) + 1}: {', '.join(names)}."
    )
    out.write_document({"rule": row.name, "order": names})


def _preview(out: commands.Output, options: dict[str, Any]) -> None:
    book, conditions = review.build_book(review.list_rules()), SendingConditions.load()
    if options["mail"]:
        mail = Mail.objects.filter(pk=options["mail"]).first()
        if mail is None:
            raise CommandError(f"There is no email {options['mail']}. List them with: manage.py mails")
        found: RoutePreview | Refused = preview_mail(mail, book=book, conditions=conditions)
    else:
        if not options["sender"] or not options["recipient"]:
            raise CommandError("Give --mail, or --from and --to.", returncode=ExitCode.USAGE_ERROR)
        names = ("sender", "recipient", "subject", "content", "tags", "queue")
        fields = {name: options[name] for name in names if options[name]}
        found = preview_submission(fields, client=_find_client(options["api_key"]), book=book, conditions=conditions)
    if isinstance(found, Refused):
        raise CommandError(f"This email would be refused: {found.detail}", returncode=ExitCode.USAGE_ERROR)
    _show_preview(out, found)


def _find_client(name: str | None) -> Client:
    if name is None:
        return Client(source=Source.COMMAND)
    key = ApiKey.objects.filter(name=name, revoked_at=None).order_by("-id").first()
    if key is None:
        raise CommandError(
            f"There is no API key named '{name}'. List them with: manage.py apikey list",
            returncode=ExitCode.USAGE_ERROR,
        )
    return Client(source=Source.API, api_key=key)


def _show_preview(out: commands.Output, found: RoutePreview) -> None:
    out.say(found.sentence, tone="ok" if any(account.share for account in found.accounts) else "waiting")
    if found.paused:
        out.say(found.paused, tone="waiting")
    out.say(f"Queue: {found.queue}")
    for number, check in enumerate(found.rules, 1):
        result = "decides" if check.decides else f"does not decide: {check.why_not}"
        out.say(f"{number:>3}. {check.rule.name} {result}")
    for account in found.accounts:
        state = f"{account.share:.0%} of the draw" if account.share else "not now"
        notes = "; ".join(filter(None, (account.note, account.refuses)))
        note = f": {notes}" if notes else ""
        out.say(f"  {account.account} (weight {account.weight}, priority {account.priority}): {state}{note}")
    out.write_document(found.to_json())


def _warn(out: commands.Output, warnings: list[str], *, before: str = "") -> None:
    for warning in warnings:
        out.say(f"{before}{warning}", tone="waiting")
