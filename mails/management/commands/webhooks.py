"""`manage.py webhooks`: the URLs of clients that get the events of their emails."""

import datetime as dt
import uuid
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.events.webhooks import operations
from mails.events.webhooks.operations import (
    MOST_OVERLAP_HOURS,
    OVERLAP_HOURS,
    InvalidChoice,
    TooManyWebhooks,
    WebhookDisabled,
)
from mails.events.webhooks.urls import UrlNotAllowed
from mails.management import webhook_deliveries
from mails.models import ApiKey, Webhook
from mails.reporting.webhook_status import WebhookStatus, find_status
from mails.states import Actor, EventName
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output

COLUMNS = {
    "id": "Id",
    "api_key": "API key",
    "url": "URL",
    "state": "State",
    "delivered_share": "Delivered",
    "waiting": "Waiting",
    "last_error": "Last error",
}
TONES = {"active": "ok", "failing": "waiting", "disabled": "bad"}
EMPTY = "There are no webhooks. Add one: manage.py webhooks add URL --api-key NAME"


class Command(commands.MercuryCommand):
    """List, add, test, rotate, disable, enable and remove webhooks; list deliveries, and deliver again."""

    help = "Manage webhooks: URLs of clients that get the events of the emails of one API key (docs/webhooks.md)."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        listing = commands.add_subcommand(words, "list", "List webhooks.")
        listing.add_argument("--api-key", metavar="NAME", help="Only those of this API key.")
        self._declare_add(commands.add_subcommand(words, "add", "Add a webhook.", makes_changes=True))
        _add_id(commands.add_subcommand(words, "show", "Show all of one webhook, except its secret."))
        _add_id(commands.add_subcommand(words, "test", "Send it a test event.", makes_changes=True))
        rotate = commands.add_subcommand(words, "rotate-secret", "Replace its secret.", makes_changes=True)
        _add_id(rotate)
        rotate.add_argument(
            "--hours",
            type=commands.parse_integer_option(0, MOST_OVERLAP_HOURS),
            default=OVERLAP_HOURS,
            metavar="N",
            help=f"So long requests are signed with both secrets (default: {OVERLAP_HOURS}).",
        )
        _add_id(commands.add_subcommand(words, "enable", "Send events to it again.", makes_changes=True))
        disable = commands.add_subcommand(words, "disable", "Send nothing to it; its events wait.", makes_changes=True)
        _add_id(disable)
        disable.add_argument("--reason", metavar="TEXT", help="Why, in words.")
        _add_id(commands.add_subcommand(words, "remove", "Remove it and its deliveries.", makes_changes=True))
        webhook_deliveries.declare(words)

    @staticmethod
    def _declare_add(parser: CommandParser) -> None:
        parser.add_argument("url", metavar="URL", help="Where events are sent, such as https://shop.olimpus.com/hooks.")
        parser.add_argument("--api-key", required=True, metavar="NAME", help="The API key whose emails it is for.")
        parser.add_argument(
            "--event",
            dest="events",
            action="append",
            default=[],
            choices=EventName.values,
            metavar="NAME",
            help="An event that it gets, such as DONE. Repeatable. Default: all.",
        )
        parser.add_argument("--addresses", action="store_true", help="Send whole addresses; else only their domains.")
        parser.add_argument("--note", default="", help="What it is for.")

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        words = {
            "list": _list,
            "add": _add,
            "show": _show,
            "test": _test,
            "rotate-secret": _rotate,
            "enable": _switch,
            "disable": _switch,
            "remove": _remove,
            "deliveries": webhook_deliveries.show,
            "redeliver": webhook_deliveries.redeliver,
        }
        try:
            return words[options["word"]](out, options)
        except (UrlNotAllowed, InvalidChoice, TooManyWebhooks, WebhookDisabled) as refused:
            raise CommandError(str(refused)) from None


def _add_id(parser: CommandParser) -> None:
    parser.add_argument("id", type=uuid.UUID, metavar="ID", help="The webhook, as `list` shows it.")


def _list(out: Output, options: dict[str, Any]) -> None:
    found = Webhook.objects.select_related("api_key").order_by("id")
    if options["api_key"]:
        found = found.filter(api_key=_find_key(options["api_key"]))
    rows = list(found)
    status = find_status([row.pk for row in rows])
    out.write_rows(
        [_as_row(row, status[row.pk], as_json=out.as_json) for row in rows], columns=COLUMNS, tones=TONES, empty=EMPTY
    )


def _as_row(webhook: Webhook, status: WebhookStatus, *, as_json: bool) -> dict[str, object]:
    return {
        "id": str(webhook.pk),
        "api_key": webhook.api_key.name,
        "url": webhook.url,
        "state": webhook.state.value,
        "delivered_share": status.share if as_json else _format_share(status.share),
        "waiting": status.waiting,
        "last_error": webhook.disabled_reason if webhook.disabled_at else webhook.last_error,
        "description": webhook.description,
        "events": webhook.events,
        "addresses": webhook.addresses,
        "disabled": webhook.disabled_at,
        "disabled_by": webhook.disabled_by,
        "last_success": webhook.last_success_at,
        "failing_since": webhook.failing_since,
        "previous_secret_until": webhook.previous_secret_until,
        "created": webhook.created_at,
        "created_by": webhook.created_by,
    }


def _format_share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _show(out: Output, options: dict[str, Any]) -> None:
    webhook = webhook_deliveries.find(options["id"])
    row = _as_row(webhook, find_status([webhook.pk])[webhook.pk], as_json=out.as_json)
    for name, value in row.items():
        if words := _format(value):
            label = COLUMNS.get(name) or name.replace("_", " ").capitalize()
            out.say(f"{label:<23}{words}")
    out.write_document(row)


def _format(value: object) -> str:
    match value:
        case list():
            return ", ".join(value) or "all"
        case dt.datetime():
            return f"{value:%Y-%m-%d %H:%M} UTC"
        case bool():
            return "yes" if value else "no"
    return "" if value is None else str(value)


def _add(out: Output, options: dict[str, Any]) -> None:
    key = _find_key(options["api_key"])
    if options["dry_run"]:
        operations.check_new(key, url=options["url"], description=options["note"], events=options["events"])
        out.say(f"Would send events of {key.name} to {options['url']}.")
        out.write_document({"id": None, "url": options["url"]})
        return
    made = operations.create(
        key,
        url=options["url"],
        by=Actor.COMMAND,
        description=options["note"],
        events=options["events"],
        addresses=options["addresses"],
    )
    out.say(f"Webhook {made.webhook.pk} gets events of {key.name} from now on.", tone="ok")
    _show_secret(out, made.webhook, made.secret)


def _show_secret(out: Output, webhook: Webhook, secret: str) -> None:
    out.say(f"Secret: {secret}")
    out.say("Store it now; it is not shown again.")
    out.write_document({"id": str(webhook.pk), "url": webhook.url, "secret": secret})


def _test(out: Output, options: dict[str, Any]) -> None:
    webhook = webhook_deliveries.find(options["id"])
    if options["dry_run"]:
        operations.check_enabled(webhook)
        out.say(f"Would send a test event to {webhook.url}.")
        out.write_document({"id": str(webhook.pk), "delivery": None})
        return
    delivery = operations.send_test(webhook, by=Actor.COMMAND)
    out.say(f"Delivery {delivery.pk} goes to {webhook.url}. See it: manage.py webhooks deliveries {webhook.pk}")
    out.write_document({"id": str(webhook.pk), "delivery": delivery.pk})


def _rotate(out: Output, options: dict[str, Any]) -> ExitCode | None:
    webhook, hours = webhook_deliveries.find(options["id"]), options["hours"]
    if options["dry_run"]:
        out.say(f"Would replace the secret of {webhook.url}; the previous one would be valid for {hours} hours.")
        out.write_document({"id": str(webhook.pk), "url": webhook.url, "secret": None})
        return None
    if not out.ask(f"Replace the secret of {webhook.url}? The previous one stays valid for {hours} hours."):
        return ExitCode.FAILED
    _show_secret(out, webhook, operations.rotate_secret(webhook, by=Actor.COMMAND, hours=hours))
    return None


def _switch(out: Output, options: dict[str, Any]) -> ExitCode | None:
    webhook, word = webhook_deliveries.find(options["id"]), options["word"]
    if options["dry_run"]:
        out.say(f"Would {word} {webhook.url}.")
        out.write_document({"id": str(webhook.pk), "changed": False})
        return None
    if word == "enable":
        changed = operations.enable(webhook, by=Actor.COMMAND)
    else:
        if not out.ask(f"Send nothing to {webhook.url} until it is enabled?"):
            return ExitCode.FAILED
        changed = operations.disable(webhook, by=Actor.COMMAND, reason=options["reason"] or "")
    out.say(f"{webhook.url} is {word}d." if changed else f"Nothing to do: {webhook.url} was {word}d before.")
    out.write_document({"id": str(webhook.pk), "changed": changed})
    return None


def _remove(out: Output, options: dict[str, Any]) -> ExitCode | None:
    webhook = webhook_deliveries.find(options["id"])
    if options["dry_run"]:
        out.say(f"Would remove {webhook.url} and its deliveries.")
        out.write_document({"id": str(webhook.pk), "removed": False})
        return None
    if not out.ask(f"Remove {webhook.url} and its deliveries? What waits is not delivered."):
        return ExitCode.FAILED
    operations.remove(webhook, by=Actor.COMMAND)
    out.say(f"{webhook.url} is removed.")
    out.write_document({"id": str(options["id"]), "removed": True})
    return None


def _find_key(name: str) -> ApiKey:
    key = ApiKey.objects.filter(name=name, revoked_at=None).order_by("-id").first()
    if key is None:
        raise CommandError(
            f"There is no API key named '{name}'. List them with: manage.py apikey list",
            returncode=ExitCode.USAGE_ERROR,
        )
    return key
