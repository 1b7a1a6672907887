"""`manage.py worker`: send emails until the process is asked to stop."""

import argparse
import signal
import time
from dataclasses import asdict
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from mails.dispatch import wake
from mails.dispatch.dispatcher import Dispatcher, Progress
from mails.dispatch.planner import POLL
from mails.queues import QueueName
from mails.worker import jobs, resident_dispatcher
from mercury.lib import commands
from mercury.lib.commands import ExitCode
from mercury.lib.runtime import event_loop
from mercury.lib.runtime.stop_request import StopRequest

log = structlog.get_logger(__name__)

ROLES = [DISPATCH, RELAY, INTAKE, WEBHOOKS] = ["dispatch", "relay", "intake", "webhooks"]


class Command(commands.MercuryCommand):
    """An RQ worker that also polls the database, so that it works without Redis."""

    serves = True
    help = (
        f"Send emails until asked to stop. Redis wakes the worker; it also polls the database every {POLL:g} s. "
        "It logs its activity once a minute. "
        "On SIGTERM it accepts no new email, finishes the requests in progress, and exits within MERCURY_SEND_TIMEOUT + 5 s."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "queues", nargs="*", metavar="QUEUE", help=f"Queues to serve: {', '.join(QueueName.values)}. Default: all."
        )
        parser.add_argument(
            "--concurrency",
            type=commands.parse_integer_option(1, 10_000),
            metavar="N",
            help="Maximum number of requests in progress. Default: MERCURY_MAX_CONCURRENCY.",
        )
        parser.add_argument(
            "--roles",
            type=_parse_roles,
            default=ROLES,
            metavar="ROLE,…",
            help="dispatch: send emails. relay: publish events to the sinks (EVENT_SINK_…). intake: accept emails from "
            "streams (SUBMISSION_STREAM_…). webhooks: send events to client webhooks. Default: all of them.",
        )
        parser.add_argument("--burst", action="store_true", help="Exit as soon as no email is due.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Send until asked to stop, or with --burst until no email is due."""
        queues = options["queues"] or list(QueueName.values)
        if unknown := [queue for queue in queues if queue not in QueueName.values]:
            raise CommandError(
                f"Unknown queue: {', '.join(unknown)}. Queues: {', '.join(QueueName.values)}.",
                returncode=ExitCode.USAGE_ERROR,
            )
        event_loop.trim_memory()
        if options["burst"]:
            sent = event_loop.run(Dispatcher(queues, concurrency=options["concurrency"]).run(until_idle=True))
            out.say(f"{sent} sent, no email is due.")
            out.write_document({"queues": queues, "sent": sent})
            return None
        seconds = _serve(queues, options["concurrency"], options["roles"])
        out.write_document({"queues": queues, "roles": options["roles"], "seconds": seconds})
        return None


def _parse_roles(text: str) -> list[str]:
    roles = [role.strip() for role in text.split(",")]
    if unknown := [role for role in roles if role not in ROLES]:
        raise argparse.ArgumentTypeError(
            f"'{commands.make_printable(unknown[0])}' is not a role. Roles: {', '.join(ROLES)}."
        )
    return roles


def _serve(queues: list[str], concurrency: int | None, roles: list[str]) -> int:
    """Work in these roles until a signal arrives, and return for how many seconds."""
    stopping = StopRequest()

    def stop(number: int, frame: FrameType | None) -> None:
        resident_dispatcher.ask_to_stop()
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("worker_started", queues=" ".join(queues), roles=" ".join(roles), redis=bool(settings.REDIS_URL))
    if RELAY in roles:
        resident_dispatcher.start_relays()
    if WEBHOOKS in roles:
        resident_dispatcher.start_webhooks()
    if INTAKE in roles:
        resident_dispatcher.start_readers()
    if DISPATCH in roles:
        resident_dispatcher.start(
            queues, concurrency=concurrency, each_minute=lambda progress: _log_minute(queues, progress)
        )
    began = time.monotonic()
    if settings.REDIS_URL and DISPATCH in roles:
        jobs.work(queues, stopping=stopping)
    else:
        stopping.wait()
    log.info("worker_stopping")
    resident_dispatcher.stop()
    seconds = round(time.monotonic() - began)
    log.info("worker_stopped", seconds=seconds)
    return seconds


def _log_minute(queues: list[str], minute: Progress) -> None:
    """Log the activity of the last minute in one line."""
    log.info("worker_minute", queues=" ".join(queues), redis=wake.check_redis(), **asdict(minute))
