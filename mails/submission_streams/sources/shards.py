"""Which process reads which shard of a Kinesis stream, and how far each is: rows with leases."""

import datetime as dt
from collections.abc import Collection, Mapping

from django.db.models import Max, Q, QuerySet

from mails.models import StreamShard
from mercury.lib.database import database_clock

LEASE = dt.timedelta(seconds=60)


class Shards:
    """The shards of one stream, as one process sees them."""

    def __init__(self, stream: str, *, process: str) -> None:
        self._stream, self._process = stream, process

    def sync(self, parents: Mapping[str, Collection[str]]) -> None:
        """Add rows for new shards, and delete those of finished ones that are gone. `parents`: all shards, with theirs."""
        rows = StreamShard.objects.filter(stream_id=self._stream)
        known = set(rows.values_list("shard", flat=True))
        if fresh := parents.keys() - known:
            StreamShard.objects.bulk_create(
                [StreamShard(stream_id=self._stream, shard=shard) for shard in sorted(fresh)], ignore_conflicts=True
            )
        if gone := known - parents.keys():
            rows.filter(shard__in=gone).delete()

    def lease(self, parents: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Renew the leases of this process and take one more shard, if one is free; return the positions of all it has.

        One at a time, so that processes that start together share them. A shard waits until those it was made from are finished:
        so records with one partition key stay in order.
        """
        now = database_clock.now()
        self._own().update(leased_until=now + LEASE)
        finished = set(self._rows().filter(is_finished=True).values_list("shard", flat=True))
        over = Q(leased_until=None) | Q(leased_until__lt=now) | Q(leased_until__gt=now + 2 * LEASE)
        for shard in self._rows().filter(over, is_finished=False).order_by("pk").values_list("shard", flat=True):
            if finished.issuperset(parents.get(shard, ())):
                free = self._rows().filter(over, shard=shard, is_finished=False)
                if free.update(leader=self._process, leased_until=now + LEASE):
                    break
        return dict(self._own().values_list("shard", "position"))

    def advance(self, shard: str, position: str) -> bool:
        """Record that the shard is finished up to this record; return False if another process reads it now."""
        return bool(self._own().filter(shard=shard).update(position=position))

    def finish(self, shard: str) -> None:
        """Record that the shard is closed and read to its end."""
        self._own().filter(shard=shard).update(is_finished=True, lag_seconds=0.0, leased_until=None)

    def note_lag(self, seconds: Mapping[str, float]) -> float | None:
        """Record how far the shards of this process are behind, and return the most of all shards; None if it is not known."""
        for shard, lag in seconds.items():
            self._own().filter(shard=shard).update(lag_seconds=lag)
        most: float | None = self._rows().aggregate(most=Max("lag_seconds"))["most"]
        return most

    def release(self) -> None:
        """Let other processes read the shards of this one."""
        self._own().update(leased_until=None)

    def _rows(self) -> QuerySet[StreamShard]:
        return StreamShard.objects.filter(stream_id=self._stream)

    def _own(self) -> QuerySet[StreamShard]:
        return self._rows().filter(leader=self._process, is_finished=False, leased_until__isnull=False)
