"""Download links: what has become of one, and its end. The tokens in their URLs are in `link_tokens`."""

import datetime as dt
import uuid
from collections.abc import Collection
from enum import Enum

from django.db import transaction

from mails.files import link_tokens
from mails.models import Download, DownloadLink
from mercury.lib.database import database_clock


class LinkState(Enum):
    """What a link is good for. The value: what the page and the API say."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    USED_UP = "used up"  # as many downloads as it allows have begun
    REMOVED = "removed"  # its content is gone

    @property
    def allows_resuming(self) -> bool:
        """Return True if a download that has begun may go on."""
        return self in (LinkState.VALID, LinkState.USED_UP)


def get_state(link: DownloadLink, now: dt.datetime) -> LinkState:
    """Return the state of a link. What somebody did explains more than what time does."""
    if link.revoked_at is not None:
        return LinkState.REVOKED
    if link.expires_at <= now:
        return LinkState.EXPIRED
    if link.content_id is None:
        return LinkState.REMOVED
    if link.max_downloads is not None and link.downloads >= link.max_downloads:
        return LinkState.USED_UP
    return LinkState.VALID


def revoke(link_ids: Collection[uuid.UUID], *, by: str) -> set[uuid.UUID]:
    """End these links now, and return those that had not ended. Their contents are deleted if nothing else uses them."""
    now = database_clock.now()
    revoked = set()
    for link_id in sorted(link_ids):
        valid = DownloadLink.objects.filter(pk=link_id, revoked_at=None, expires_at__gt=now)
        if valid.update(revoked_at=now, revoked_by=by[:128], content=None):
            revoked.add(link_id)
    return revoked


def release_ended(limit: int) -> int:
    """Release the contents of at most `limit` expired links, and return how many. Their rows stay."""
    ended = DownloadLink.objects.filter(content__isnull=False, expires_at__lte=database_clock.now())
    with transaction.atomic():
        found = list(
            ended.order_by("expires_at").select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit]
        )
        return DownloadLink.objects.filter(pk__in=found).update(content=None)


def forget_downloads(limit: int) -> int:
    """Delete at most `limit` downloads that can no longer be resumed, and return how many."""
    over = database_clock.now() - dt.timedelta(seconds=link_tokens.TICKET_SECONDS)
    found = list(
        Download.objects.filter(started_at__lt=over).order_by("started_at").values_list("pk", flat=True)[:limit]
    )
    return Download.objects.filter(pk__in=found).delete()[0]
