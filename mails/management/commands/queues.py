"""`manage.py queues`: what waits in each queue, its share of the workers and its rate limit, and the rules that pick queues."""

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails import pauses, queue_rules, queue_settings
from mails.management import mail_display
from mails.models import Pause, QueueRule
from mails.pauses import QueueNotFound
from mails.queue_settings import QueueConfig
from mails.queues import QueueName
from mails.reporting import system_status
from mails.reporting.system_status import QueueStatus
from mails.states import Actor
from mercury.lib import commands, durations
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock
from mercury.lib.rates import parse_rate

COLUMNS = {
    "queue": "Queue",
    "state": "State",
    "share": "Share %",
    "rate": "Emails/s",
    "waiting": "Waiting",
    "oldest": "Oldest",
    "deferred": "Waiting to retry",
    "scheduled": "Scheduled",
    "next_scheduled_at": "Next (UTC)",
    "in_progress": "In progress",
    "paused_at": "Paused (UTC)",
    "paused_by": "By",
    "paused_note": "Why",
}
RULE_COLUMNS = {"position": "Position", "name": "Rule", "matches": "Emails", "queue": "Queue", "enabled": "Enabled"}
TONES = {"running": "ok", "paused": "bad"}
DEFAULT = "default"


def _parse_share(text: str) -> int | None:
    return None if text == DEFAULT else commands.parse_integer_option(-1000, 1000)(text)


def _parse_rate(text: str) -> float | None:
    try:
        rate = parse_rate(commands.parse_text_option(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return rate.per_second if rate else None


class Command(commands.MercuryCommand):
    """List the queues and their rules, and change share and rate limit of a queue."""

    help = (
        "List the queues: state, share of the workers, rate limit, what waits and since when, what is in progress. "
        "`set` changes share and rate limit; `rules` lists the rules that pick queues."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", metavar="WORD")
        commands.add_subcommand(words, "list", "List the queues. Default.")
        commands.add_subcommand(words, "rules", "List the rules that pick queues, in their order, with warnings.")
        change = commands.add_subcommand(words, "set", "Change share or rate limit of a queue.", makes_changes=True)
        change.add_argument("queue", metavar="QUEUE", help=f"One of {', '.join(QueueName.values)}.")
        change.add_argument(
            "--share",
            type=_parse_share,
            default=argparse.SUPPRESS,
            metavar="PERCENT",
            help="Percent of a worker's slots that it may fill while other queues have due email, 1 to 100; "
            f"`{DEFAULT}`: as in MERCURY_QUEUE_SHARES.",
        )
        change.add_argument(
            "--rate",
            type=_parse_rate,
            default=argparse.SUPPRESS,
            metavar="RATE",
            help="Emails that all workers together begin to send, such as 20/s or 600/m; `none`: no limit.",
        )

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        match options["word"]:
            case "set":
                return _set(out, options)
            case "rules":
                _list_rules(out)
            case _:
                _list(out)
        return None


def _list(out: Output) -> None:
    now, active, configs = database_clock.now(), pauses.load_active(), queue_settings.read()
    in_progress = system_status.count_claimed()
    mail_display.show_pauses(out, queues=())
    rows = [
        _build_row(
            system_status.read_queue_status(queue, now),
            configs[queue],
            in_progress=in_progress.get(queue, 0),
            pause=active.get(queue) or active.all_sending,
            as_json=out.as_json,
        )
        for queue in QueueName.values
    ]
    out.write_rows(rows, columns=COLUMNS, empty="No queue.", tones=TONES)


def _build_row(
    waiting: QueueStatus, config: QueueConfig, *, in_progress: int, pause: Pause | None, as_json: bool
) -> dict[str, object]:
    oldest = waiting.oldest if as_json or waiting.oldest is None else durations.format_duration(waiting.oldest)
    return {
        "queue": waiting.queue,
        "state": "paused" if pause else "running",
        "share": config.share,
        "rate": config.rate,
        "waiting": waiting.due,
        "oldest": oldest,
        "deferred": waiting.deferred,
        "scheduled": waiting.scheduled,
        "next_scheduled_at": waiting.next_scheduled_at,
        "in_progress": in_progress,
        "paused_at": pause.paused_at if pause else None,
        "paused_by": pause.who if pause else "",
        "paused_note": pause.note if pause else "",
    }


def _set(out: Output, options: dict[str, Any]) -> ExitCode | None:
    try:
        queue = pauses.find_queue(options["queue"])
        before = queue_settings.read()[queue]
        share = options.get("share", before.share if before.is_share_set else None)
        rate = options.get("rate", before.rate)
        queue_settings.check_share(queue, share)
    except (QueueNotFound, queue_settings.QueueSettingsInvalid) as error:
        raise CommandError(str(error)) from error
    if not {"share", "rate"} & options.keys():
        raise CommandError("Specify what to change: --share PERCENT, --rate RATE, or both.", returncode=2)
    words = f"share {DEFAULT if share is None else f'{share} %'}, {'no rate limit' if rate is None else f'{rate:g} emails/s'}"
    if options["dry_run"] or not out.ask(f"Set queue {queue} to {words}?"):
        out.say(f"Would set queue {queue} to {words}.")
        out.write_document({"queue": queue, "share": share, "rate": rate, "changed": False})
        return None if options["dry_run"] else ExitCode.FAILED
    queue_settings.change(queue, share=share, rate=rate, by=Actor.COMMAND)
    out.say(f"Queue {queue}: {words}. Workers follow within two seconds.")
    out.write_document({"queue": queue, "share": share, "rate": rate, "changed": True})
    return None


def _list_rules(out: Output) -> None:
    rows = list(QueueRule.objects.all())
    for warning in queue_rules.list_warnings([queue_rules.build(row) for row in rows if row.enabled]):
        out.say(warning, tone="waiting")
    listed = [
        {
            "position": row.position,
            "name": row.name,
            "matches": queue_rules.describe_conditions(row),
            "conditions": row.conditions,
            "queue": row.queue,
            "enabled": row.enabled,
        }
        for row in rows
    ]
    empty = "There are no rules: the queue follows from what an email carries. Add one in the admin, under More."
    out.write_rows(listed, columns=RULE_COLUMNS, empty=empty)
