"""Deletes the log of webhook deliveries: what ended a week ago, and what has waited for 30 days for a webhook to be enabled."""

import datetime as dt
import time

from django.conf import settings
from django.db.models import Q

from mails.models import WebhookDelivery
from mercury.lib.database import database_clock

TASK = "old-deliveries"
EVERY = dt.timedelta(hours=1)
KEEP = dt.timedelta(days=7)  # after the end of a delivery, but no longer than emails
KEEP_WAITING = dt.timedelta(days=30)  # since its creation; only those of disabled webhooks become as old
BATCH = 2000  # in one transaction


class OldDeliveries:
    """A run through the log, the oldest first, in slices."""

    def __init__(self) -> None:
        now = database_clock.now()
        self._ended_before = now - min(KEEP, settings.MERCURY_MAIL_RETENTION)
        self._created_before = now - min(KEEP_WAITING, settings.MERCURY_MAIL_RETENTION)
        self._after = 0

    def remove(self, *, seconds: float) -> bool:
        """Delete for about so long; return False when the run is over. Several processes may do it at once."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self._remove_page():
                return False
        return True

    def _remove_page(self) -> bool:
        """Look at the next rows; return False at those that are too young. Ids are nearly in the order of creation."""
        rows = WebhookDelivery.objects.filter(pk__gt=self._after).order_by("pk").values_list("pk", "created_at")
        page = list(rows[:BATCH])
        if not page:
            return False
        old = Q(finished_at__lt=self._ended_before) | Q(created_at__lt=self._created_before)
        WebhookDelivery.objects.filter(old, pk__in=[pk for pk, _ in page]).delete()
        self._after = page[-1][0]
        return page[-1][1] < self._ended_before
