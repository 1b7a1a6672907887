"""Deliveries of webhooks on the command line: the log, and to deliver again."""

import uuid
from typing import Any

from django.core.management.base import CommandError

from mails.events.webhooks import redelivery
from mails.events.webhooks.redelivery import Period
from mails.models import DeliveryStatus, Webhook, WebhookDelivery
from mails.states import Actor
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock

COLUMNS = {
    "id": "Id",
    "created": "Created (UTC)",
    "event": "Event",
    "mail": "Email",
    "status": "Status",
    "attempts": "Attempts",
    "status_code": "Answer",
    "next_attempt": "Next (UTC)",
    "error": "Error",
}
TONES = {"delivered": "ok", "waiting": "waiting", "failed": "bad"}
SHOWN = 50  # unless --limit says otherwise


def declare(words: Any) -> None:
    """Declare the subcommands `deliveries` and `redeliver`, given what `add_subparsers` returned."""
    log = commands.add_subcommand(words, "deliveries", "List the deliveries of a webhook, newest first.")
    log.add_argument("id", type=uuid.UUID, metavar="ID", help="The webhook, as `list` shows it.")
    log.add_argument("--status", choices=DeliveryStatus.values, metavar="STATUS", help="Only with this one.")
    log.add_argument("--event", metavar="NAME", help="Only of this event, such as DONE.")
    log.add_argument("--mail", type=uuid.UUID, metavar="ID", help="Only of this email.")
    log.add_argument("--since", type=commands.parse_time_option, metavar="TIME", help="Created since: 1h, or a date.")
    log.add_argument(
        "--limit",
        type=commands.parse_integer_option(1, 100_000),
        default=SHOWN,
        metavar="N",
        help=f"Show at most this number of deliveries (default: {SHOWN}).",
    )
    again = commands.add_subcommand(words, "redeliver", "Deliver events again: some, or a period.", makes_changes=True)
    again.add_argument("id", type=uuid.UUID, metavar="ID", help="The webhook, as `list` shows it.")
    again.add_argument(
        "--delivery",
        dest="deliveries",
        type=commands.parse_integer_option(1, 999_999_999_999),
        action="append",
        default=[],
        metavar="ID",
        help="A delivery, as `deliveries` shows it. Repeatable.",
    )
    again.add_argument("--since", type=commands.parse_time_option, metavar="TIME", help="Events since: 1h, or a date.")
    again.add_argument("--until", type=commands.parse_time_option, metavar="TIME", help="Events before. Default: now.")
    again.add_argument("--all", action="store_true", help="Also events that were delivered. Default: only failed ones.")


def find(webhook_id: uuid.UUID) -> Webhook:
    """Return the webhook. Raises CommandError."""
    webhook = Webhook.objects.select_related("api_key").filter(pk=webhook_id).first()
    if webhook is None:
        raise CommandError(f"There is no webhook {webhook_id}. List them: manage.py webhooks list")
    return webhook


def show(out: Output, options: dict[str, Any]) -> None:
    """List deliveries."""
    webhook = find(options["id"])
    wanted = {
        "status": options["status"],
        "event": options["event"],
        "mail_id": options["mail"],
        "created_at__gte": options["since"],
    }
    rows = WebhookDelivery.objects.filter(webhook=webhook, **{name: value for name, value in wanted.items() if value})
    out.write_rows(
        (_as_row(row) for row in rows.order_by("-id")[: options["limit"]]),
        columns=COLUMNS,
        tones=TONES,
        empty="There are no such deliveries.",
    )


def _as_row(delivery: WebhookDelivery) -> dict[str, object]:
    return {
        "id": delivery.pk,
        "created": delivery.created_at,
        "event": "test" if delivery.is_test else delivery.event,
        "mail": str(delivery.mail_id) if delivery.mail_id else None,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "status_code": delivery.status_code,
        "next_attempt": delivery.next_attempt_at,
        "error": delivery.error,
        "message_id": delivery.message_id,
        "event_id": delivery.event_id,
        "last_attempt": delivery.attempted_at,
        "finished": delivery.finished_at,
        "answer": delivery.answer,
        "duration_ms": delivery.duration_ms,
    }


def redeliver(out: Output, options: dict[str, Any]) -> ExitCode | None:
    """Deliver some deliveries, or the events of a period, again."""
    webhook = find(options["id"])
    if bool(options["deliveries"]) == bool(options["since"]):
        raise CommandError("Give --delivery or --since.", returncode=ExitCode.USAGE_ERROR)
    return _redeliver_some(out, webhook, options) if options["deliveries"] else _redeliver_range(out, webhook, options)


def _redeliver_some(out: Output, webhook: Webhook, options: dict[str, Any]) -> ExitCode | None:
    rows = WebhookDelivery.objects.filter(webhook=webhook, pk__in=options["deliveries"]).select_related("webhook")
    found = {row.pk: row for row in rows}
    if missing := [number for number in options["deliveries"] if number not in found]:
        raise CommandError(f"This webhook has no delivery {missing[0]}. List them: manage.py webhooks deliveries ID")
    names = ", ".join(map(str, found))
    if options["dry_run"]:
        out.say(f"Would deliver {names} to {webhook.url} again.")
        out.write_document({"id": str(webhook.pk), "redelivered": 0})
        return None
    for row in found.values():
        redelivery.redeliver(row, by=Actor.COMMAND)
    out.say(f"{names} will be delivered to {webhook.url} again.")
    out.write_document({"id": str(webhook.pk), "redelivered": len(found)})
    return None


def _redeliver_range(out: Output, webhook: Webhook, options: dict[str, Any]) -> ExitCode | None:
    since, until = options["since"], options["until"] or database_clock.now()
    if since >= until:
        raise CommandError("--since must be before --until.", returncode=ExitCode.USAGE_ERROR)
    period = Period(since=since, until=until, only_failed=not options["all"])
    count = redelivery.count_period(webhook, period, most_events=None)
    which = "" if options["all"] else " whose delivery was given up"
    when = f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
    what = f"{_format_events(count)}{which} of {when} to {webhook.url} again"
    if options["dry_run"] or not count:
        out.say(f"Would deliver {what}." if count else f"Nothing to do: there is no event{which} of {when}.")
        out.write_document({"id": str(webhook.pk), "redelivered": 0, "events": count})
        return None
    if not out.ask(f"Deliver {what}?"):
        return ExitCode.FAILED
    count = redelivery.redeliver_period(webhook, period, by=Actor.COMMAND, most_events=None)
    out.say(f"{_format_events(count)} will be delivered again.")
    out.write_document({"id": str(webhook.pk), "redelivered": count, "events": count})
    return None


def _format_events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"
