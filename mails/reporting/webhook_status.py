"""How webhooks do: share of successful deliveries, how many wait, and those that need a person."""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

RECENT = 200  # last deliveries of which the shares are
COUNTED_AT_MOST = 10_000  # waiting deliveries


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookStatus:
    """Status of one webhook's deliveries."""

    delivered: int  # of the last 200
    failed: int  # of the last 200: given up
    waiting: int  # 10,001 if there are more than 10,000
    oldest: dt.datetime | None  # when the oldest of these was created

    @property
    def share(self) -> float | None:
        """The delivered part of the last 200, from 0 to 1; None without any."""
        ended = self.delivered + self.failed
        return self.delivered / ended if ended else None


def find_status(webhook_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, WebhookStatus]:
    """Return the status of each of these webhooks: one query, however many they are."""
    raise NotImplementedError
