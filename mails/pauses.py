"""Pause of one queue, or of all sending. While it is active, Mercury accepts and stores email but sends none of it.

A pause is a row, so that every process on every machine keeps to it: the claim and each step to SENDING ask for it.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import structlog
from django.conf import settings
from django.db.models import Q

from mails.models import Mail, Pause, PeriodicTask
from mails.queues import QueueName
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)

ALL_QUEUES = ""  # the queue of a pause of all sending
START = "MERCURY_START_PAUSED"
ALIVE = dt.timedelta(
    minutes=10
)  # an instance with a sweep or a resumption within this time was restarted, not restored


class QueueNotFound(ValueError):
    """No queue has this name. The text lists those that exist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no queue '{name}'. Known: {', '.join(QueueName.values)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePauses:
    """Pauses that are active now."""

    all_sending: Pause | None = None
    queues: Mapping[str, Pause] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return True if anything is paused."""
        return self.all_sending is not None or bool(self.queues)

    def get(self, queue: str) -> Pause | None:
        """Return the active pause of this queue itself, or of all sending for `ALL_QUEUES`."""
        return self.queues.get(queue) if queue else self.all_sending


def find_queue(name: str) -> QueueName:
    """Return the queue of this name. Raises QueueNotFound."""
    try:
        return QueueName(name)
    except ValueError:
        raise QueueNotFound(name) from None


def load_active() -> ActivePauses:
    """Return the pauses that are active now. One query."""
    active = {pause.queue: pause for pause in Pause.objects.filter(resumed_at=None)}
    return ActivePauses(all_sending=active.pop(ALL_QUEUES, None), queues=active)


def describe_start(pause: Pause) -> str:
    """Return since when the pause is active, and who made it."""
    return f"since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}"


def find_paused(mail_ids: Collection[uuid.UUID], *, since: dt.datetime) -> set[uuid.UUID]:
    """Return those of these emails whose queue, or all sending, is paused or was paused at any time since then."""
    paused = set(Pause.objects.filter(Q(resumed_at=None) | Q(resumed_at__gte=since)).values_list("queue", flat=True))
    if ALL_QUEUES in paused:
        return set(mail_ids)
    return set(Mail.objects.filter(pk__in=mail_ids, queue__in=paused).values_list("pk", flat=True)) if paused else set()


def pause(queue: str = ALL_QUEUES, *, by: str, note: str = "", at_start: bool = False) -> bool:
    """Pause this queue, or all sending; return False if it was paused before. Requests in progress finish."""
    details = {"paused_at": database_clock.now(), "paused_by": by, "note": note, "at_start": at_start}
    _, paused = Pause.objects.get_or_create(queue=queue, resumed_at=None, defaults=details)
    if paused:
        log.warning("queue_paused" if queue else "sending_paused", **_build_log_fields(queue, by))
    return paused


def resume(queue: str = ALL_QUEUES, *, by: str) -> bool:
    """Resume this queue, or all sending; return False if it was not paused."""
    resumed = Pause.objects.filter(queue=queue, resumed_at=None).update(resumed_at=database_clock.now(), resumed_by=by)
    if resumed:
        log.warning("queue_resumed" if queue else "sending_resumed", **_build_log_fields(queue, by))
    return bool(resumed)


def pause_at_start() -> None:
    """Pause all sending if `MERCURY_START_PAUSED` asks for it; called before a process claims its first email.

    Once such a pause is resumed, restarts do not bring it back. An instance without a sign of life for ten minutes may
    have been restored from a back-up that contains the resumption: it is paused again.
    """
    if not settings.MERCURY_START_PAUSED:
        return
    since = database_clock.now() - ALIVE
    resumed = Pause.objects.filter(queue=ALL_QUEUES, at_start=True, resumed_at__isnull=False)
    alive = PeriodicTask.objects.filter(expires_at__gt=since).exists() or resumed.filter(resumed_at__gt=since).exists()
    if alive and resumed.exists():
        log.info("start_pause_skipped", setting=START)
        return
    pause(
        by=START, note="Paused at the start by MERCURY_START_PAUSED: check what is queued, then resume.", at_start=True
    )


def _build_log_fields(queue: str, by: str) -> dict[str, str]:
    return {"queue": str(queue), "by": by} if queue else {"by": by}
