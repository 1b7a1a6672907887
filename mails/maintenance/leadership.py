"""Leaders of the instance's periodic tasks. A task's leader holds the lease of its row; if it dies, another takes over."""

import datetime as dt

from django.db.models import Q

from mails.models import PeriodicTask
from mails.states import WORKER_SILENCE
from mercury.lib.database import database_clock

LEASE = WORKER_SILENCE  # a leader that died is replaced as soon as its emails may be recovered


def acquire(name: str, worker: str) -> bool:
    """Return True if this worker is the task's leader now: it was, or nobody was. One UPDATE where another one leads."""
    now = database_clock.now()
    # A lease that ends later than any may began before the clock went back.
    over = Q(expires_at__lt=now) | Q(expires_at__isnull=True) | Q(expires_at__gt=now + 2 * LEASE)
    free = Q(leader=worker) | over
    leads = PeriodicTask.objects.filter(free, name=name).update(leader=worker, expires_at=now + LEASE)
    if not leads and not PeriodicTask.objects.filter(name=name).exists():
        PeriodicTask.objects.bulk_create([PeriodicTask(name=name)], ignore_conflicts=True)
    return bool(leads)


def begin_run(name: str, worker: str, *, every: dt.timedelta) -> bool:
    """Return True, and record the run, if this worker is the leader and the last run is older than `every`."""
    if not acquire(name, worker):
        return False
    now = database_clock.now()
    due = Q(done_until__isnull=True) | Q(done_until__lt=now - every) | Q(done_until__gt=now + LEASE)
    return bool(PeriodicTask.objects.filter(due, name=name, leader=worker).update(done_until=now))
