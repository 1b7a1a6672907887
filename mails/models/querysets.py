"""Named queries of emails and events."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from django.db import models

from mails.states import DUE

if TYPE_CHECKING:
    from mails.models import ApiKey, Event, Mail, StoredFile  # noqa: F401 (named in the base classes)


class MailQuerySet(models.QuerySet["Mail"]):
    """Queries of emails."""

    def due(self, now: dt.datetime) -> MailQuerySet:
        """Return the emails that are due; served by the partial index `mail_due`."""
        return self.filter(status__in=DUE, next_attempt_at__lte=now)

    def in_queues(self, queues: list[str]) -> MailQuerySet:
        """Return the emails of these queues."""
        return self.filter(queue__in=queues)

    def visible_to(self, *, api_key: ApiKey | None, user: Any) -> MailQuerySet:
        """Return what a client may see: a key its own emails, a user their own, a user with `view_mail` all."""
        if api_key is not None:
            return self.filter(api_key=api_key)
        if user is None or not user.is_authenticated:
            return self.none()
        return self if user.has_perm("mails.view_mail") else self.filter(user=user)


class EventQuerySet(models.QuerySet["Event"]):
    """Queries of events."""

    def of(self, mail_id: uuid.UUID) -> EventQuerySet:
        """Return the events of one email. Its id holds its time, so that older partitions of the table are not read."""
        return self.filter(mail_id=mail_id, created_at__gte=_compute_earliest(mail_id))


def _compute_earliest(mail_id: uuid.UUID) -> int:
    """Return a time before all events of the email, in nanoseconds since the Unix epoch: that of its id, less a day.

    The day allows for machines whose clocks differ; ids that no email can have are limited to what a column holds.
    """
    return min(max((mail_id.int >> 80) * 10**6 - 86400 * 10**9, 0), 2**63 - 1)


class StoredFileQuerySet(models.QuerySet["StoredFile"]):
    """Queries of uploads."""

    def owned_by(self, *, api_key: ApiKey | None, user: Any) -> StoredFileQuerySet:
        """Return the files that this client uploaded; those of the command line belong to neither a key nor a user."""
        if api_key is not None:
            return self.filter(api_key=api_key)
        return self.filter(api_key=None, user=user)
