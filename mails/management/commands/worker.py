"""`manage.py worker`: sends mails until it is told to stop."""

import signal
import threading
import time
from argparse import ArgumentParser
from dataclasses import asdict
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mails import jobs
from mails.dispatch import poll
from mails.dispatch.drain import Drain, Progress
from mails.lanes import Lane
from mercury.lib import event_loop

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    """An RQ worker that also looks into the database every two seconds, so that it does without Redis."""

    help = (
        "Send mails until told to stop. Answers wake-ups through Redis and looks into the database every 2 s by itself. "
        "Each minute it logs what it did. "
        "SIGTERM: takes no new mail, lets calls under way end, and exits within MERCURY_DEADLINE + 5 s."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which lanes, how many calls at once, and whether to stop when nothing is due."""
        parser.add_argument(
            "lanes", nargs="*", metavar="LANE", help=f"Lanes to serve: {', '.join(Lane.values)}. Default: all."
        )
        parser.add_argument("--places", type=int, default=None, help="Calls under way at most (MERCURY_PLACES).")
        parser.add_argument("--burst", action="store_true", help="Stop when no mail is due.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run."""
        lanes = options["lanes"] or list(Lane.values)
        if unknown := [lane for lane in lanes if lane not in Lane.values]:
            raise CommandError(f"No such lane: {', '.join(unknown)}. Lanes: {', '.join(Lane.values)}.", returncode=2)
        if options["places"] is not None and options["places"] < 1:
            raise CommandError("--places: at least 1, please.", returncode=2)
        event_loop.settle_memory()
        if options["burst"]:
            done = event_loop.run(Drain(lanes, places=options["places"]).run(until_idle=True))
            self.stdout.write(f"{done} sent, nothing else is due.")
            return
        self._serve(lanes, options["places"])

    def _serve(self, lanes: list[str], places: int | None) -> None:
        stopping = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            poll.ask_to_stop()
            stopping.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        log.info("worker_started", lanes=" ".join(lanes), redis=bool(settings.REDIS_URL))
        poll.start(lanes, places=places, each_minute=lambda progress: _tell(lanes, progress))
        began = time.monotonic()
        if settings.REDIS_URL:
            jobs.work(lanes, stopping=stopping)
        else:
            stopping.wait()
        log.info("worker_stopping")
        poll.stop()
        log.info("worker_stopped", seconds=round(time.monotonic() - began))


def _tell(lanes: list[str], minute: Progress) -> None:
    """The line of a minute."""
    log.info("worker_minute", lanes=" ".join(lanes), redis=jobs.queue_health(), **asdict(minute))
