"""`manage.py dispatch`: send the emails that are due, in the foreground."""

import signal
import time
from typing import Any

from django.core.management.base import CommandParser

from mails.dispatch.dispatcher import Dispatcher, Progress
from mails.maintenance.periodic_thread import Beat, PeriodicThread
from mails.models import Mail
from mails.queues import QueueName
from mercury.lib import commands
from mercury.lib.commands import ExitCode, ProgressBar
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop


class Command(commands.MercuryCommand):
    """Dispatch queues in the foreground."""

    serves = True
    help = (
        "Send the emails that are due, in the foreground, until Ctrl-C. Requests in progress are finished before it exits. "
        "Several dispatchers can run at the same time."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--queue",
            action="append",
            choices=QueueName.values,
            metavar="QUEUE",
            help=f"Queue to dispatch, repeatable: {', '.join(QueueName.values)}. Default: all.",
        )
        parser.add_argument(
            "--concurrency",
            type=commands.parse_integer_option(1, 10_000),
            metavar="N",
            help="Maximum number of requests in progress. Default: MERCURY_MAX_CONCURRENCY.",
        )
        parser.add_argument("--once", action="store_true", help="Exit as soon as no email is due.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Dispatch the queues and show the progress."""
        queues = options["queue"] or list(QueueName.values)
        if options["dry_run"]:
            due = _count_due(queues)
            out.say(f"{commands.format_email_count(due)} due in {', '.join(queues)}.")
            out.write_document({"queues": queues, "due": due})
            return None
        began = time.monotonic()
        with out.show_progress("Dispatching") as bar:
            sent = _dispatch(queues, bar, concurrency=options["concurrency"], once=options["once"])
        took = time.monotonic() - began
        due = _count_due(queues)
        out.say(f"{sent} sent in {took:.1f} s, {due} due.")
        out.write_document({"sent": sent, "seconds": round(took, 3), "due": due})
        return None


def _count_due(queues: list[str]) -> int:
    return Mail.objects.due(database_clock.now()).in_queues(queues).count()


def _dispatch(queues: list[str], bar: ProgressBar, *, concurrency: int | None, once: bool) -> int:
    began = time.monotonic()
    due = _count_due(queues)

    def count(_beat: Beat) -> None:
        nonlocal due
        due = _count_due(queues)

    def show(progress: Progress) -> None:
        rate = progress.done / max(0.001, time.monotonic() - began)
        note = f"{progress.in_flight} in progress, {rate:.0f} sent/s, {due} waiting"
        bar.show(progress.done, total=max(progress.done, progress.done + due), note=note)

    counting = PeriodicThread("mercury-count", count)  # apart, so that no claim waits for it
    dispatcher = Dispatcher(queues, concurrency=concurrency, on_progress=show, on_heartbeat=counting.note_heartbeat)
    before = {number: signal.signal(number, lambda *_: dispatcher.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    counting.start()
    try:
        return event_loop.run(dispatcher.run(until_idle=once))
    finally:
        counting.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
