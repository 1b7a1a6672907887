"""`manage.py streams`: the sinks that events are published to, and the streams that emails are accepted from."""

from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.events import steering
from mails.events.sinks.config import PREFIX, WRITE, load_sinks
from mails.management import submission_streams
from mails.management.stream_changes import StreamChange, change_stream
from mails.models import EventSink, RejectedRecord
from mails.reporting.sink_status import SinkStatus, list_sinks
from mails.states import Actor
from mails.stream_pauses import pause, resume
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock
from mercury.lib.durations import format_duration

COLUMNS = {
    "name": "Sink",
    "state": "State",
    "target": "Target",
    "backlog": "Waiting",
    "oldest": "Oldest",
    "published": "Published",
    "published_at": "Last (UTC)",
    "rejected": "Refused",
    "error": "Error",
}
TONES = {"publishing": "ok", "paused": "waiting", "failing": "bad", "stopped": "bad", "new": "neutral"}
REJECTED_COLUMNS = {"event": "Event", "reason": "Reason", "rejected_at": "When (UTC)"}
EMPTY = f"There is no sink. Set {PREFIX}<NAME> for the workers. {WRITE}"


class Command(commands.MercuryCommand):
    """List, pause, resume and remove sinks."""

    help = (
        "List the sinks of events with what waits for each; pause, resume or remove one. List the streams that emails are "
        "accepted from; pause, resume or forget one (docs/streams.md)."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        commands.add_subcommand(words, "list", "List the sinks.")
        for word, text in (
            ("pause", "Publish nothing to a sink until it is resumed. Its events wait."),
            ("resume", "Publish to a sink again, what has waited first."),
            ("remove", "Forget a sink and how far it is. Remove its variable from the workers first."),
        ):
            changing = commands.add_subcommand(words, word, text, makes_changes=True)
            changing.add_argument("name", metavar="NAME", help="The sink, as `list` shows it.")
        rejected = commands.add_subcommand(
            words, "rejected", "List the events that a sink refused for good.", makes_changes=True
        )
        rejected.add_argument("name", metavar="NAME", help="The sink, as `list` shows it.")
        rejected.add_argument("--clear", action="store_true", help="Forget them.")

        submission_streams.add_words(words)

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        word = options["word"]
        if word in submission_streams.WORDS:
            return submission_streams.run(out, word, options)
        if word == "list":
            out.write_rows(_list_rows(as_json=out.as_json), columns=COLUMNS, tones=TONES, empty=EMPTY)
            return None
        name = options["name"]
        if not EventSink.objects.filter(name=name).exists():
            raise CommandError(f"There is no sink '{name}'. List them: manage.py streams list")
        if word == "rejected":
            return _show_rejected(out, name, options)
        return change_stream(out, _CHANGES[word], name, options)


def _list_rows(*, as_json: bool) -> list[dict[str, object]]:
    """Return a row for each sink that is in use, or named in this environment."""
    configured = load_sinks()
    known = list_sinks(database_clock.now())
    rows = [
        _build_row(sink, configured[sink.name].target if sink.name in configured else "", as_json) for sink in known
    ]
    fresh = configured.keys() - {sink.name for sink in known}
    return rows + [{"name": name, "state": "new", "target": configured[name].target} for name in sorted(fresh)]


def _build_row(sink: SinkStatus, target: str, as_json: bool) -> dict[str, object]:
    oldest = sink.oldest if as_json or sink.oldest is None else format_duration(sink.oldest)
    return {
        "name": sink.name,
        "state": sink.state,
        "target": target,
        "backlog": sink.backlog,
        "oldest": oldest,
        "published": sink.published,
        "published_at": sink.published_at,
        "rejected": sink.rejected,
        "error": sink.error,
        "leader": sink.leader,
    }


_CHANGES = {
    "pause": StreamChange("pause", "Publish nothing to {} until it is resumed?", "paused", partial(pause, EventSink)),
    "resume": StreamChange("resume", "Publish to {} again?", "resumed", partial(resume, EventSink)),
    "remove": StreamChange("remove", "Forget {} and how far it is?", "forgotten", steering.remove),
}


def _show_rejected(out: Output, name: str, options: dict[str, Any]) -> ExitCode | None:
    rows = RejectedRecord.objects.filter(sink_id=name).order_by("event_id")
    if options["clear"]:
        if options["dry_run"]:
            out.say(f"Would forget {rows.count():,} refused events.")
            out.write_document({"forgotten": 0})
            return None
        forgotten = steering.forget_rejected(name, by=Actor.COMMAND)
        out.say(f"{forgotten:,} refused events are forgotten.")
        out.write_document({"forgotten": forgotten})
        return None
    listed = ({"event": row.event_id, "reason": row.reason, "rejected_at": row.rejected_at} for row in rows)
    out.write_rows(listed, columns=REJECTED_COLUMNS, empty=f"{name} refused no event.")
    return None
