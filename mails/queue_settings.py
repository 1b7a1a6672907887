"""Share and rate limit of each queue: what MERCURY_QUEUE_SHARES says, unless people have set something else."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import transaction

from mails import configuration
from mails.configuration import Configuration
from mails.models import QueueSettings
from mails.queues import QueueName
from mercury.lib.database import database_clock
from mercury.lib.runtime import process_state

log = structlog.get_logger(__name__)


class QueueSettingsInvalid(ValueError):
    """A share is out of range. The text says which are valid, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """Share and rate limit of one queue as they apply."""

    queue: str
    share: int  # percent of a worker's slots
    rate: float | None = None  # emails a second
    is_share_set: bool = False  # by people; else it is that of MERCURY_QUEUE_SHARES
    changed_at: dt.datetime | None = None
    changed_by: str = ""


class QueueConfigs(Configuration[Mapping[str, QueueConfig]]):
    """The settings of the queues that people have changed."""

    name = "queue settings"
    empty: Mapping[str, QueueConfig] = {}

    def load(self) -> Mapping[str, QueueConfig]:
        """Read them. One query."""
        return {row.queue: _build_config(row) for row in QueueSettings.objects.all()}


def read() -> dict[str, QueueConfig]:
    """Return the settings of every queue, in their order, as they are or were two seconds ago. From memory."""
    changed = process_state.get(QueueConfigs).read()
    return {
        queue: changed.get(queue) or QueueConfig(queue=queue, share=get_default(queue)) for queue in QueueName.values
    }


def get_default(queue: str) -> int:
    """Return the share of a queue that MERCURY_QUEUE_SHARES says."""
    share: int = settings.MERCURY_QUEUE_SHARES[queue]
    return share


def _build_config(row: QueueSettings) -> QueueConfig:
    return QueueConfig(
        queue=row.queue,
        share=get_default(row.queue) if row.share is None else row.share,
        rate=row.rate,
        is_share_set=row.share is not None,
        changed_at=row.changed_at,
        changed_by=row.who,
    )


def change(queue: str, *, share: int | None, rate: float | None, by: str) -> None:
    """Set share (percent; None: as in MERCURY_QUEUE_SHARES) and rate limit (emails a second; None: none) of a queue.

    Workers follow within two seconds. Raises QueueSettingsInvalid.
    """
    check_share(queue, share)
    values = {"share": share, "rate": rate, "changed_at": database_clock.now(), "changed_by": by}
    with transaction.atomic():
        QueueSettings.objects.update_or_create(queue=queue, defaults=values)
        configuration.mark_changed(QueueConfigs)
    log.warning("queue_settings_changed", queue=str(queue), share=share, rate=rate, by=by)


def reset(queues: Collection[str], *, by: str) -> None:
    """Return these queues to the shares of MERCURY_QUEUE_SHARES, without rate limits."""
    with transaction.atomic():
        QueueSettings.objects.filter(queue__in=queues).delete()
        configuration.mark_changed(QueueConfigs)
    log.warning("queue_settings_reset", queues=list(queues), by=by)


def check_share(queue: str, share: int | None) -> None:
    """Raise QueueSettingsInvalid unless the share is a percentage from 1 to 100."""
    if share is None or 1 <= share <= 100:
        return
    remedy = f"To stop it, pause it: manage.py pause --queue {queue}." if share < 1 else "100 is all slots of a worker."
    raise QueueSettingsInvalid(f"The share of queue {queue} is {share} percent; it must be from 1 to 100. {remedy}")


def read_next_at() -> dict[str, dt.datetime | None]:
    """Return the state of the rate limit of each queue that has one. One query."""
    return dict(QueueSettings.objects.filter(rate__isnull=False).values_list("queue", "next_at"))


def replace_next_at(queue: str, before: dt.datetime | None, after: dt.datetime) -> bool:
    """Store the state of the queue's rate limit; return False if another worker has changed it since it was read."""
    same = QueueSettings.objects.filter(queue=queue, rate__isnull=False)
    same = same.filter(next_at__isnull=True) if before is None else same.filter(next_at=before)
    return bool(same.update(next_at=after))
