"""`manage.py tail`: show events as they happen."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
from django.core.management.base import CommandParser

from mails.events import cloud_events, outbox
from mails.events.commit_horizon import CommitHorizon
from mails.events.outbox import OutboxEvent
from mails.events.relay import get_source
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock

LOOK_EVERY = 0.5  # seconds
GROUP = 1000


class Command(commands.MercuryCommand):
    """Show events live."""

    help = (
        "Show the events of all emails as they happen, until interrupted. Events appear once nothing can commit before them. "
        "With --json, one CloudEvent per line."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the filters."""
        parser.add_argument(
            "--event", action="append", metavar="NAME", help="Only events of this name, such as DONE (repeatable)."
        )
        parser.add_argument("--mail", type=uuid.UUID, metavar="ID", help="Only events of this email.")
        parser.add_argument("--application", metavar="NAME", help="Only events of this API key's emails.")
        parser.add_argument("--to", metavar="TEXT", help="Only events of emails whose recipients contain this text.")
        parser.add_argument(
            "--since",
            type=commands.parse_time_option,
            metavar="1h",
            help="Begin with the events since then: an age or a date. Default: those from now on.",
        )
        parser.add_argument(
            "--limit",
            type=commands.parse_integer_option(1, 1_000_000),
            metavar="N",
            help="Exit after this number of events.",
        )

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Print events until interrupted, or until --limit is reached."""
        shown = 0
        try:
            for event in _follow(options["since"]):
                if _matches(event, options):
                    _show(out, event)
                    shown += 1
                    if shown == options["limit"]:
                        break
        except KeyboardInterrupt:
            out.say()
        return None


def _follow(since: Any) -> Iterator[OutboxEvent]:
    """Yield events in order, from this moment on or from now on, for ever."""
    horizon = CommitHorizon()
    position = None if since is None else outbox.find_position(since)
    while True:
        until = horizon.advance()
        if until is not None:
            position = until if position is None else position
            for events in outbox.read_all(position, until, limit=GROUP):
                yield from events
                position = events[-1].id
        time.sleep(LOOK_EVERY)


def _matches(event: OutboxEvent, options: dict[str, Any]) -> bool:
    names, mail, application, to = options["event"], options["mail"], options["application"], options["to"]
    return (
        (not names or event.event.lower() in {name.lower() for name in names})
        and (mail is None or event.mail_id == mail)
        and (application is None or event.application == application)
        and (to is None or to.lower() in event.recipient.lower())
    )


def _show(out: Output, event: OutboxEvent) -> None:
    if out.as_json:
        record = cloud_events.build(event, source=get_source(), addresses=True)
        out.write_document(orjson.loads(record.encode()))
        return
    moment = database_clock.from_ns(event.created_at)
    out.say(
        f"{moment:%H:%M:%S.%f}"[:12] + f"  {event.mail_id}  {event.event:14}  {event.recipient}  {event.blob[:200]}"
    )
