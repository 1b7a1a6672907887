"""`manage.py worker`: sends mails until it is told to stop."""

import signal
import time
from dataclasses import asdict
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from mails.dispatch import wake
from mails.dispatch.dispatcher import Drain, Progress
from mails.lanes import Lane
from mails.worker import jobs, resident_dispatcher
from mercury.lib import commands
from mercury.lib.commands import Exit
from mercury.lib.runtime import event_loop
from mercury.lib.runtime.stop_request import StopRequest

log = structlog.get_logger(__name__)


class Command(commands.MercuryCommand):
    """An RQ worker that also looks into the database every two seconds, so that it does without Redis."""

    serves = True
    help = (
        "Send mails until told to stop. Answers wake-ups through Redis and looks into the database every 2 s by itself. "
        "Each minute it logs what it did. "
        "SIGTERM: takes no new mail, lets calls under way end, and exits within MERCURY_SEND_TIMEOUT + 5 s."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Which lanes, how many calls at once, and whether to stop when nothing is due."""
        parser.add_argument(
            "lanes", nargs="*", metavar="LANE", help=f"Lanes to serve: {', '.join(Lane.values)}. Default: all."
        )
        parser.add_argument(
            "--places",
            type=commands.whole(1, 10_000),
            metavar="N",
            help="Calls under way at most (MERCURY_MAX_CONCURRENCY).",
        )
        parser.add_argument("--burst", action="store_true", help="Stop when no mail is due.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Send until told to stop, or until nothing is due."""
        lanes = options["lanes"] or list(Lane.values)
        if unknown := [lane for lane in lanes if lane not in Lane.values]:
            raise CommandError(
                f"No such lane: {', '.join(unknown)}. Lanes: {', '.join(Lane.values)}.", returncode=Exit.WRONG_USE
            )
        event_loop.settle_memory()
        if options["burst"]:
            done = event_loop.run(Drain(lanes, places=options["places"]).run(until_idle=True))
            out.say(f"{done} sent, nothing else is due.")
            out.document({"lanes": lanes, "sent": done})
            return None
        seconds = _serve(lanes, options["places"])
        out.document({"lanes": lanes, "seconds": seconds})
        return None


def _serve(lanes: list[str], places: int | None) -> int:
    """Work until a signal asks for the end; returns the seconds that it took."""
    stopping = StopRequest()

    def stop(number: int, frame: FrameType | None) -> None:
        resident_dispatcher.ask_to_stop()
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("worker_started", lanes=" ".join(lanes), redis=bool(settings.REDIS_URL))
    resident_dispatcher.start(lanes, places=places, each_minute=lambda progress: _tell(lanes, progress))
    began = time.monotonic()
    if settings.REDIS_URL:
        jobs.work(lanes, stopping=stopping)
    else:
        stopping.wait()
    log.info("worker_stopping")
    resident_dispatcher.stop()
    seconds = round(time.monotonic() - began)
    log.info("worker_stopped", seconds=seconds)
    return seconds


def _tell(lanes: list[str], minute: Progress) -> None:
    """The line of a minute."""
    log.info("worker_minute", lanes=" ".join(lanes), redis=wake.check_redis(), **asdict(minute))
