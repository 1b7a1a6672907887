"""Deletes what nobody asks for any more: idempotency keys after a day, rows of workers that died a day ago."""

import datetime as dt
import time

from django.db import transaction

from mails.models import IdempotencyKey, Worker
from mails.states import IDEMPOTENCY_KEYS_KEPT
from mercury.lib.database import database_clock

TASK = "old-rows"
KEEP_WORKERS = dt.timedelta(days=1)
BATCH = 2000  # keys in one transaction


def remove(*, seconds: float) -> int:
    """Delete them for about so long, and return how many keys. Several processes may do it at once.

    Skips a key that a submission is taking over at this moment: neither waits for the other, and the new key stays.
    """
    now, until = database_clock.now(), time.monotonic() + seconds
    Worker.objects.filter(seen_at__lt=now - KEEP_WORKERS).delete()
    old = IdempotencyKey.objects.filter(created_at__lt=now - IDEMPOTENCY_KEYS_KEPT).order_by("created_at")
    removed = 0
    while True:
        with transaction.atomic():
            keys = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
            removed += IdempotencyKey.objects.filter(pk__in=keys).delete()[0]
        if len(keys) < BATCH or time.monotonic() >= until:
            return removed
