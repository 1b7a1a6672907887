"""The deliveries on the page of a webhook: filtered, searched, in pages by key."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import Q, QuerySet

from mails.models import DeliveryStatus, Webhook, WebhookDelivery

PER_PAGE = 50
BADGES = {
    DeliveryStatus.WAITING: ("Waiting", "waiting", "clock"),
    DeliveryStatus.DELIVERED: ("Delivered", "ok", "tick"),
    DeliveryStatus.FAILED: ("Failed", "bad", "cross"),
}
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_MESSAGE_ID = re.compile(r"msg_(?P<mail>[0-9a-f]{32})_(?P<event>[0-9]{1,18})", re.ASCII)


@dataclass(kw_only=True)
class DeliveryList:
    """One page of deliveries, newest first. `newer` and `older`: the ids from which the other pages begin."""

    rows: list[tuple[WebhookDelivery, dict[str, str]]] = field(default_factory=list)
    status: str = ""
    words: str = ""
    statuses: list[tuple[str, str]] = field(default_factory=lambda: [(s.value, s.label) for s in DeliveryStatus])
    newer: int | None = None
    older: int | None = None


def load(webhook: Webhook, query: Mapping[str, str]) -> DeliveryList:
    """Return the page that the query string asks for: `status`, `q`, and `before` or `after` an id."""
    status = query.get("status", "")
    found = DeliveryList(
        status=status if status in DeliveryStatus.values else "", words=query.get("q", "").strip()[:200]
    )
    rows = WebhookDelivery.objects.filter(webhook=webhook)
    if found.status:
        rows = rows.filter(status=found.status)
    if found.words:
        rows = _search(rows, found.words)
    before, after = (_read_number(query.get(name, "")) for name in ("before", "after"))
    if after is not None:
        page = list(rows.filter(pk__gt=after).order_by("pk")[: PER_PAGE + 1])
        more_newer, more_older = len(page) > PER_PAGE, True
        page = page[:PER_PAGE][::-1]
    else:
        page = list((rows.filter(pk__lt=before) if before is not None else rows).order_by("-pk")[: PER_PAGE + 1])
        more_newer, more_older = before is not None, len(page) > PER_PAGE
        page = page[:PER_PAGE]
    if page:
        found.newer = page[0].pk if more_newer else None
        found.older = page[-1].pk if more_older else None
    found.rows = [(row, make_badge(row)) for row in page]
    return found


def make_badge(delivery: WebhookDelivery) -> dict[str, str]:
    """Return word, tone and icon of its status."""
    word, tone, icon = BADGES[DeliveryStatus(delivery.status)]
    return {"word": word, "tone": tone, "icon": icon}


def _search(rows: QuerySet[WebhookDelivery], words: str) -> QuerySet[WebhookDelivery]:
    """Return the deliveries of an email, an event's id or name, or a message id."""
    if match := _MESSAGE_ID.fullmatch(words):
        return rows.filter(mail_id=uuid.UUID(match["mail"]), event_id=int(match["event"]))
    if _NUMBER.fullmatch(words):
        return rows.filter(Q(pk=int(words)) | Q(event_id=int(words)))
    try:
        return rows.filter(mail_id=uuid.UUID(words))
    except ValueError:
        return rows.filter(event="" if words.lower() == "test" else words.upper())


def _read_number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
