"""`manage.py queues`: what waits in each queue, its share of the workers and its rate limit, and the rules that pick queues."""

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails import pauses, queue_rules, queue_settings
from mails.management import mail_display, rule_options
from mails.models import Pause, QueueRule
from mails.pauses import QueueNotFound
from mails.queue_rules import QueueRuleInvalid, QueueRuleNotFound
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
    """List the queues and their rules, and change them."""

    help = (
        "List the queues: state, share of the workers, rate limit, what waits and since when, what is in progress. "
        "`set` changes share and rate limit; `rules` lists the rules that pick queues, `add-rule` and `remove-rule` change them."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", metavar="WORD")
        commands.add_subcommand(words, "list", "List the queues. Default.")
        commands.add_subcommand(words, "rules", "List the rules that pick queues, in their order, with warnings.")
        self._declare_rules(words)
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

    @staticmethod
    def _declare_rules(words: Any) -> None:
        adding = commands.add_subcommand(words, "add-rule", "Add a rule that picks a queue.", makes_changes=True)
        adding.add_argument("name", help="Its name, such as news.")
        adding.add_argument("to", choices=QueueName.values, metavar="QUEUE", help="The queue of the emails it matches.")
        rule_options.declare_conditions(adding)
        adding.add_argument(
            "--position",
            type=commands.parse_integer_option(0, 2**31 - 1),
            default=100,
            metavar="N",
            help="Rules are tried in this order, the smallest first (default: 100).",
        )
        adding.add_argument("--disabled", action="store_true", help="Store it, but let it match nothing yet.")
        for word, text in {
            "remove-rule": "Delete a rule.",
            "enable-rule": "Enable a rule.",
            "disable-rule": "Disable a rule: it matches nothing.",
        }.items():
            named = commands.add_subcommand(words, word, text, makes_changes=True)
            named.add_argument("name", help="Its name, as shown by `rules`.")

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        changes = {
            "add-rule": _add_rule,
            "remove-rule": _remove_rule,
            "enable-rule": _set_enabled,
            "disable-rule": _set_enabled,
        }
        match options["word"]:
            case "set":
                return _set(out, options)
            case "rules":
                _list_rules(out)
            case word if word in changes:
                try:
                    changes[word](out, options)
                except (QueueRuleInvalid, QueueRuleNotFound) as refused:
                    raise CommandError(str(refused), returncode=ExitCode.USAGE_ERROR) from None
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
    _warn(out, queue_rules.list_warnings(rows))
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
    empty = "There are no rules: the queue follows from what an email carries. Add one: manage.py queues add-rule"
    out.write_rows(listed, columns=RULE_COLUMNS, empty=empty)


def _add_rule(out: Output, options: dict[str, Any]) -> None:
    row = queue_rules.read_rule(
        {
            "name": options["name"],
            "queue": options["to"],
            "conditions": rule_options.read_conditions(options),
            "position": options["position"],
            "enabled": not options["disabled"],
        }
    )
    if options["dry_run"]:
        queue_rules.check_place(row)
    else:
        queue_rules.save(row, by=Actor.COMMAND)
    stored = [other for other in QueueRule.objects.all() if other.name != row.name]
    warnings = queue_rules.list_warnings([*stored, row], about=row.name)
    sentence = queue_rules.describe(row)
    out.say(f"{'Would add' if options['dry_run'] else 'Added'} {row.name}: {sentence}")
    _warn(out, warnings)
    out.write_document({"rule": row.name, "sentence": sentence, "warnings": warnings})


def _remove_rule(out: Output, options: dict[str, Any]) -> None:
    row = queue_rules.find_row(options["name"])
    if not options["dry_run"]:
        queue_rules.delete([row], by=Actor.COMMAND)
    out.say(f"{'Would remove' if options['dry_run'] else 'Removed'} {row.name}: {queue_rules.describe(row)}")
    out.write_document({"rule": row.name})


def _set_enabled(out: Output, options: dict[str, Any]) -> None:
    row, enabled = queue_rules.find_row(options["name"]), options["word"] == "enable-rule"
    word, changed = "enabled" if enabled else "disabled", row.enabled != enabled
    if not changed:
        out.say(f"{row.name} is already {word}.")
    else:
        if not options["dry_run"]:
            row.enabled = enabled
            queue_rules.save(row, by=Actor.COMMAND)
        out.say(f"{'Would be' if options['dry_run'] else 'Now'} {word}: {row.name}. {queue_rules.describe(row)}")
    out.write_document({"rule": row.name, "enabled": enabled, "changed": changed})


def _warn(out: Output, warnings: list[str]) -> None:
    for warning in warnings:
        out.say(warning, tone="waiting")
