"""Named questions about many rows."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from django.db import models

from mails.states import DUE

if TYPE_CHECKING:
    from mails.models import ApiKey, Event, Mail  # noqa: F401 (named in the base classes)


class MailQuerySet(models.QuerySet["Mail"]):
    """Questions about mails."""

    def due(self, now: dt.datetime) -> MailQuerySet:
        """Mails whose time has come; served by the partial index `mail_due`."""
        return self.filter(status__in=DUE, next_attempt_at__lte=now)

    def in_queues(self, queues: list[str]) -> MailQuerySet:
        """Mails of these queues."""
        return self.filter(queue__in=queues)

    def visible_to(self, *, api_key: ApiKey | None, user: Any) -> MailQuerySet:
        """What a client may see: a key its own mails, a person their own, a person with `view_mail` all."""
        if api_key is not None:
            return self.filter(api_key=api_key)
        if user is None or not user.is_authenticated:
            return self.none()
        return self if user.has_perm("mails.view_mail") else self.filter(user=user)


class EventQuerySet(models.QuerySet["Event"]):
    """Questions about events."""

    def of(self, mail_id: uuid.UUID) -> EventQuerySet:
        """The events of one mail. Its id tells when it began, so that older months of the table are not looked into."""
        return self.filter(mail_id=mail_id, created_at__gte=_not_before(mail_id))


def _not_before(mail_id: uuid.UUID) -> int:
    """Nanoseconds since the Unix epoch that no event of the mail precedes: its id's millisecond, less a day.

    The day allows for machines whose clocks disagree; ids that no mail can have are cut to what a column holds.
    """
    return min(max((mail_id.int >> 80) * 10**6 - 86400 * 10**9, 0), 2**63 - 1)
