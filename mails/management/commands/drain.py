"""`manage.py drain`: send what is due, in the foreground."""

import signal
import time
from typing import Any

from django.core.management.base import CommandParser

from mails.dispatch.dispatcher import Drain, Progress
from mails.lanes import Lane
from mails.models import Mail
from mercury.lib import commands
from mercury.lib.commands import Bar, Exit
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop


class Command(commands.MercuryCommand):
    """Drain lanes in the foreground."""

    serves = True
    help = (
        "Send what is due, in the foreground, until Ctrl-C; it lets the calls under way end. "
        "Any number of drains may run at once."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--lane",
            action="append",
            choices=Lane.values,
            metavar="LANE",
            help=f"Repeatable: {', '.join(Lane.values)}. Default: all.",
        )
        parser.add_argument(
            "--places",
            type=commands.whole(1, 10_000),
            metavar="N",
            help="Calls under way at most. Default: MERCURY_MAX_CONCURRENCY.",
        )
        parser.add_argument("--once", action="store_true", help="End as soon as nothing is due.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Drain, with a bar."""
        lanes = options["lane"] or list(Lane.values)
        if options["dry_run"]:
            due = _waiting(lanes)
            out.say(f"{due} mails are due in {', '.join(lanes)}.")
            out.document({"lanes": lanes, "due": due})
            return None
        began = time.monotonic()
        with out.progress("Draining") as bar:
            sent = _drain(lanes, bar, places=options["places"], once=options["once"])
        took = time.monotonic() - began
        waiting = _waiting(lanes)
        out.say(f"{sent} sent in {took:.1f} s, {waiting} due.")
        out.document({"sent": sent, "seconds": round(took, 3), "due": waiting})
        return None


def _waiting(lanes: list[str]) -> int:
    return Mail.objects.due(database_clock.now()).in_lanes(lanes).count()


def _drain(lanes: list[str], bar: Bar, *, places: int | None, once: bool) -> int:
    began = time.monotonic()
    waiting = _waiting(lanes)

    def count(_worker: str) -> None:  # every 2.5 s, in the drain's database thread
        nonlocal waiting
        waiting = _waiting(lanes)

    def show(progress: Progress) -> None:
        rate = progress.done / max(0.001, time.monotonic() - began)
        note = f"{progress.in_flight} in flight, {rate:.0f} sent/s, {waiting} waiting"
        bar.show(progress.done, total=max(progress.done, progress.done + waiting), note=note)

    drain = Drain(lanes, places=places, on_progress=show, on_heartbeat=count)
    before = {number: signal.signal(number, lambda *_: drain.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return event_loop.run(drain.run(until_idle=once))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
