"""Periodic tasks of the whole house. Whichever process holds the row's lease does one; if it dies, another takes over."""

import datetime as dt

from django.db.models import Q

from mails.dispatch.claim import SILENCE
from mails.models import Duty
from mercury.lib import database_clock

LEASE = SILENCE  # a holder that died is replaced as soon as its mails may be taken up


def is_mine(name: str, worker: str) -> bool:
    """Whether this process has the duty now: it held it, or nobody did. Costs one UPDATE where another process has it."""
    now = database_clock.now()
    # A lease that ends later than any may was taken before the clock went back.
    over = Q(expires_at__lt=now) | Q(expires_at__isnull=True) | Q(expires_at__gt=now + 2 * LEASE)
    free = Q(holder=worker) | over
    mine = Duty.objects.filter(free, name=name).update(holder=worker, expires_at=now + LEASE)
    if not mine and not Duty.objects.filter(name=name).exists():
        Duty.objects.bulk_create([Duty(name=name)], ignore_conflicts=True)
    return bool(mine)


def is_due(name: str, worker: str, *, every: dt.timedelta) -> bool:
    """Whether this process has the duty, and nobody has done it for so long; then it is taken for done."""
    if not is_mine(name, worker):
        return False
    now = database_clock.now()
    rested = Q(done_until__isnull=True) | Q(done_until__lt=now - every) | Q(done_until__gt=now + LEASE)
    return bool(Duty.objects.filter(rested, name=name, holder=worker).update(done_until=now))
