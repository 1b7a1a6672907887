"""`manage.py queues`: what waits in each queue, and whether it is paused."""

from typing import Any

from django.db.models import Count

from mails import pauses
from mails.management import mail_display
from mails.models import Mail, Pause
from mails.queues import QueueName
from mails.reporting import system_status
from mails.reporting.system_status import QueueStatus
from mails.states import LEASED
from mercury.lib import commands, durations
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock

COLUMNS = {
    "queue": "Queue",
    "state": "State",
    "waiting": "Waiting",
    "oldest": "Oldest",
    "deferred": "Waiting to retry",
    "scheduled": "Scheduled",
    "next_scheduled_at": "Next (UTC)",
    "in_progress": "In progress",
    "paused_at": "Paused (UTC)",
    "paused_by": "By",
    "paused_note": "Why",
}
TONES = {"running": "ok", "paused": "bad"}


class Command(commands.MercuryCommand):
    """List the queues."""

    help = "List the queues: what waits in each and since when, what is in progress, and whether it is paused."

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Print one row for each queue."""
        now, active = database_clock.now(), pauses.load_active()
        in_progress = dict(Mail.objects.filter(status__in=LEASED).order_by().values_list("queue").annotate(Count("pk")))
        mail_display.show_pauses(out, queues=())
        rows = [
            _build_row(
                system_status.read_queue_status(queue, now),
                in_progress=in_progress.get(queue, 0),
                pause=active.get(queue) or active.all_sending,
                as_json=out.as_json,
            )
            for queue in QueueName.values
        ]
        out.write_rows(rows, columns=COLUMNS, empty="No queue.", tones=TONES)
        return None


def _build_row(waiting: QueueStatus, *, in_progress: int, pause: Pause | None, as_json: bool) -> dict[str, object]:
    oldest = waiting.oldest if as_json or waiting.oldest is None else durations.format_duration(waiting.oldest)
    return {
        "queue": waiting.queue,
        "state": "paused" if pause else "running",
        "waiting": waiting.due,
        "oldest": oldest,
        "deferred": waiting.deferred,
        "scheduled": waiting.scheduled,
        "next_scheduled_at": waiting.next_scheduled_at,
        "in_progress": in_progress,
        "paused_at": pause.paused_at if pause else None,
        "paused_by": pause.who if pause else "",
        "paused_note": pause.note if pause else "",
    }
