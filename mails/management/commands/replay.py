"""`manage.py replay`: publish a range of events to a sink once more."""

import datetime as dt
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Max

from mails.events import outbox
from mails.events.relay import GROUP, build_records
from mails.events.sinks.base import SinkUnavailable
from mails.events.sinks.config import SinkConfig, load_sinks
from mails.models import Event
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock


class Command(commands.MercuryCommand):
    """Publish events again."""

    help = (
        "Publish the events of a period to a sink once more, with the same ids, so that consumers recognize those they have. "
        "The sink's variable must be set in this terminal. The relay goes on at the same time."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("sink", metavar="SINK", help="The sink, as `streams list` shows it.")
        parser.add_argument(
            "--since",
            type=commands.parse_time_option,
            required=True,
            metavar="1h",
            help="From then on: an age or a date.",
        )
        parser.add_argument(
            "--until", type=commands.parse_time_option, metavar="DATE", help="Up to then. Default: now."
        )

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Publish, and say how many."""
        config = load_sinks().get(options["sink"])
        if config is None:
            known = ", ".join(sorted(load_sinks())) or "none"
            raise CommandError(
                f"There is no sink '{options['sink']}' in this environment (there is: {known}). Set its EVENT_SINK_ variable."
            )
        since, until = options["since"], options["until"] or database_clock.now()
        if since >= until:
            raise CommandError("--since is not before --until.", returncode=ExitCode.USAGE_ERROR)
        first = outbox.find_position(since)
        last = _find_last(until)
        if first is None or first >= last:
            out.say("There are no events in this period.")
            out.write_document({"published": 0, "refused": 0})
            return None
        out.say(f"About {last - first:,} events of this period go to {config.name} ({config.target}) once more.")
        if options["dry_run"]:
            out.write_document({"published": 0, "refused": 0, "events": last - first})
            return None
        if not out.ask("Publish them?"):
            return ExitCode.FAILED
        return _publish(out, config, first, last)


def _find_last(until: dt.datetime) -> int:
    later = outbox.find_position(until)
    return later if later is not None else Event.objects.aggregate(last=Max("id"))["last"] or 0


def _publish(out: Output, config: SinkConfig, first: int, last: int) -> ExitCode | None:
    published = refused = 0
    sink = config.open()
    try:
        with out.show_progress("Publishing", total=last - first) as bar:
            for events in outbox.read_all(first, last, limit=GROUP):
                records = build_records(events, config)
                refused += len(sink.publish(records))
                published += len(records)
                bar.show(events[-1].id - first, note=f"{published:,}")
    except SinkUnavailable as error:
        raise CommandError(f"{config.name} stopped after {published:,} events: {error}") from error
    finally:
        sink.close()
    out.say(f"{published - refused:,} events published" + (f", {refused:,} refused." if refused else "."))
    out.write_document({"published": published - refused, "refused": refused})
    return ExitCode.PARTLY_DONE if refused else None
