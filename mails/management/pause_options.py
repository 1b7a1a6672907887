"""Options and words that the commands `pause` and `resume` share."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails import pauses
from mails.pauses import ALL_QUEUES, QueueNotFound
from mails.queues import QueueName
from mercury.lib.commands import ExitCode, Output


def add_scope(parser: CommandParser) -> None:
    """Declare `--queue` and `--all`, of which one is required."""
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--queue", metavar="NAME", help=f"One queue: {', '.join(QueueName.values)}.")
    scope.add_argument("--all", action="store_true", help="All sending.")


def read_scope(options: dict[str, Any], verb: str) -> str:
    """Return the named queue, or `ALL_QUEUES`. Raises CommandError without either option."""
    if options["all"]:
        return ALL_QUEUES
    if options["queue"] is None:
        raise CommandError(
            f"Specify what to {verb}: --queue NAME ({', '.join(QueueName.values)}), or --all for all sending.",
            returncode=ExitCode.USAGE_ERROR,
        )
    try:
        return pauses.find_queue(options["queue"])
    except QueueNotFound as unknown:
        raise CommandError(str(unknown), returncode=ExitCode.USAGE_ERROR) from None


def name_scope(queue: str) -> str:
    """Return how a sentence that begins with it names the queue, or all sending."""
    return f"Queue {queue}" if queue else "Sending"


def name_option(queue: str) -> str:
    """Return the option that names the queue, or all sending."""
    return f"--queue {queue}" if queue else "--all"


def show_document(out: Output, queue: str, *, paused: bool, changed: bool) -> None:
    """Print the JSON document: the queue (null: all sending), its state, and whether the command changed it."""
    out.write_document({"queue": queue or None, "state": "paused" if paused else "running", "changed": changed})
