"""`manage.py replay`: publish a range of events to a sink once more."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.events import outbox, steering
from mails.events.relay import GROUP, build_records
from mails.events.sinks.base import SinkUnavailable
from mails.events.sinks.config import SinkConfig, load_sinks
from mails.states import Actor
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
        begin = parser.add_mutually_exclusive_group(required=True)
        begin.add_argument(
            "--since", type=commands.parse_time_option, metavar="1h", help="From then on: an age or a date."
        )
        begin.add_argument(
            "--event",
            type=commands.parse_integer_option(1, 2**63 - 1),
            metavar="ID",
            help="From this event on: the id of an event, as consumers have it.",
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
        if since is not None and since >= until:
            raise CommandError("--since is not before --until.", returncode=ExitCode.USAGE_ERROR)
        first = options["event"] - 1 if since is None else outbox.find_position(since)
        last = outbox.find_position(until)
        count = outbox.count(first, last)
        if first >= last or not count.events:
            out.say("There are no events in this period.")
            out.write_document({"published": 0, "refused": 0})
            return None
        goes = "goes" if count.events == 1 else "go"
        out.say(f"{str(count).capitalize()} of this period {goes} to {config.name} ({config.target}) once more.")
        if options["dry_run"]:
            out.write_document({"published": 0, "refused": 0, "events": count.events})
            return None
        if not out.ask("Publish them?"):
            return ExitCode.FAILED
        return _publish(out, config, first, last)


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
        steering.note_replay(config.name, events=published, first=first + 1, by=Actor.COMMAND)
    out.say(f"{published - refused:,} events published" + (f", {refused:,} refused." if refused else "."))
    out.write_document({"published": published - refused, "refused": refused})
    return ExitCode.PARTLY_DONE if refused else None
