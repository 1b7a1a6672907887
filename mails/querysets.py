"""Named questions about many rows."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django.db import models

from mails.states import DUE

if TYPE_CHECKING:
    from mails.models import ApiKey, Mail  # noqa: F401 (named in the base classes)


class MailQuerySet(models.QuerySet["Mail"]):
    """Questions about mails."""

    def due(self, now: dt.datetime) -> MailQuerySet:
        """Mails whose time has come; served by the partial index `mail_due`."""
        return self.filter(status__in=DUE, next_attempt_at__lte=now)

    def in_lanes(self, lanes: list[str]) -> MailQuerySet:
        """Mails of these lanes."""
        return self.filter(lane__in=lanes)

    def visible_to(self, *, api_key: ApiKey | None, user: Any) -> MailQuerySet:
        """What a client may see: a key its own mails, a person their own, a person with `view_mail` all."""
        if api_key is not None:
            return self.filter(api_key=api_key)
        if user is None or not user.is_authenticated:
            return self.none()
        return self if user.has_perm("mails.view_mail") else self.filter(user=user)
