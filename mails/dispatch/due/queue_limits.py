"""The limits of the queues as one dispatcher reads them: their shares, and the emails that their rate limits grant."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.db import transaction

from mails import queue_settings
from mails.dispatch.due.queue_turns import QueueLimit
from providers.health import rate_limit


class QueueRateChanged(Exception):
    """Another dispatcher used permits of the queue first: the pass has to be planned again."""


class QueueLimits:
    """The limits of the queues that one dispatcher serves. Used by its claim thread alone.

    Settings are read from memory; the state of rate limits, which other dispatchers change, with one query in each pass,
    if a queue has one.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = queues
        self._rates: dict[str, float] = {}
        self._next_at: dict[str, dt.datetime | None] = {}

    def read(self, now: dt.datetime) -> dict[str, QueueLimit]:
        """Return the limits of these queues now."""
        configs = [config for queue, config in queue_settings.read().items() if queue in self._queues]
        self._rates = {config.queue: config.rate for config in configs if config.rate}
        self._next_at = queue_settings.read_next_at() if self._rates else {}
        return {config.queue: self._build_limit(config.queue, config.share, now) for config in configs}

    def _build_limit(self, queue: str, share: int, now: dt.datetime) -> QueueLimit:
        if queue not in self._rates or queue not in self._next_at:
            return QueueLimit(share=share)
        permits = rate_limit.count_available(self._next_at[queue], self._rates[queue], now)
        wait = dt.timedelta(seconds=1 / self._rates[queue])
        return QueueLimit(share=share, permits=permits, until=None if permits else now + wait)

    @contextmanager
    def reserve(self, emails: Mapping[str, int], now: dt.datetime) -> Iterator[None]:
        """Use permits of the rate limits, and do what is inside, in one transaction. `emails`: by queue.

        Raises QueueRateChanged. Costs nothing where no queue has a rate limit.
        """
        limited = [queue for queue in self._rates if emails.get(queue) and queue in self._next_at]
        if not limited:
            yield
            return
        with transaction.atomic():
            for queue in limited:  # in the order of the queues, so that two dispatchers never wait in a circle
                before = self._next_at[queue]
                after = rate_limit.reserve(before, self._rates[queue], now, emails[queue])
                if not queue_settings.replace_next_at(queue, before, after):
                    raise QueueRateChanged
            yield
