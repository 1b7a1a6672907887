"""A Redis stream as a source, by a consumer group. What is finished is deleted, so that the stream never fills its Redis.

Entries that a reader did not acknowledge, because it died, go to another one after `CLAIM_AFTER`.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from mails.submission_streams.records import KEY_HEADER, DeadLetter, StreamRecord
from mails.submission_streams.sources.base import AT_ONCE, MOST_BYTES, READ_SECONDS, Lag, SourceUnavailable

log = structlog.get_logger(__name__)

TIMEOUT = 10.0  # seconds for one command
CLAIM_AFTER = 30.0  # seconds that an entry is not acknowledged before another reader gets it
CLAIM_EVERY = 5.0  # seconds between two looks for such entries
FORGET_AFTER = 3600.0  # seconds after which a reader that has nothing and asks for nothing is forgotten
VALUE, ID = b"mail", b"id"  # fields of an entry
PROBLEM, ORIGIN = "problem", "origin"  # fields of a dead letter
T = TypeVar("T")


class RedisSource:
    """Reads a stream as one consumer of a group."""

    def __init__(self, url: str, *, stream: str, rejected: str, group: str, consumer: str) -> None:
        self._stream, self._rejected, self._group, self._consumer = stream, rejected, group, consumer
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        self._is_ready = False
        self._claimed_at = 0.0
        self._cursor: bytes | str = "0-0"  # where the next look for the entries of dead readers begins
        self._count = AT_ONCE // 10

    def read(self) -> Sequence[StreamRecord]:
        """Return entries that another reader left behind, else the next ones. Raises SourceUnavailable."""
        entries = self._ask(self._read_entries)
        size = sum(len(fields.get(VALUE, b"")) for _, fields in entries)
        if size > MOST_BYTES:
            self._count = max(1, len(entries) * MOST_BYTES // size)
        elif entries:
            self._count = min(self._count * 2, AT_ONCE)
        return [self._build_record(entry, fields) for entry, fields in entries]

    def acknowledge(self, records: Sequence[StreamRecord]) -> None:
        """Acknowledge and delete the entries, in one transaction. Raises SourceUnavailable."""
        entries = [record.handle[0] for record in records]

        def finish() -> None:
            with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.xack(self._stream, self._group, *entries)
                pipeline.xdel(self._stream, *entries)
                pipeline.execute()

        self._ask(finish)

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Append the entries as they were, with `problem` and `origin`, all or none. Raises SourceUnavailable."""

        def append() -> None:
            with self._redis.pipeline(transaction=True) as pipeline:
                for letter in letters:
                    fields: dict[Any, Any] = {
                        **letter.record.handle[1],
                        PROBLEM: letter.rejection.encode(),
                        ORIGIN: orjson.dumps(letter.record.origin),
                    }
                    pipeline.xadd(self._rejected, fields)
                pipeline.execute()

        self._ask(append)

    def keep(self, records: Sequence[StreamRecord]) -> None:
        """Tell Redis that this reader still has the entries. Raises SourceUnavailable."""
        entries = [record.handle[0] for record in records]
        self._ask(partial(self._redis.xclaim, self._stream, self._group, self._consumer, 0, entries, justid=True))

    def measure_lag(self) -> Lag:
        """Return the length of the stream: what is finished is not in it. Forgets readers that are gone."""
        self._ask(self._forget_readers)
        return Lag(records=self._ask(partial(self._redis.xlen, self._stream)))

    def close(self) -> None:
        """Leave the group, unless some entries are not acknowledged, and close the connections."""
        try:
            if not self._redis.xpending_range(self._stream, self._group, "-", "+", 1, self._consumer):
                self._redis.xgroup_delconsumer(self._stream, self._group, self._consumer)
        except RedisError as error:
            log.info("stream_not_left", stream=self._stream, error=type(error).__name__)
        self._redis.close()

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            if not self._is_ready:
                self._create_group()
                self._is_ready = True
            return work()
        except RedisError as error:
            raise SourceUnavailable(f"{type(error).__name__}: {error}") from error

    def _create_group(self) -> None:
        """Create the group, which begins with the oldest entry; and the stream, if there is none."""
        try:
            self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _read_entries(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        if time.monotonic() - self._claimed_at >= CLAIM_EVERY and (left := self._claim()):
            return left
        streams: dict[Any, Any] = {self._stream: ">"}
        found: Any = self._redis.xreadgroup(
            self._group, self._consumer, streams, count=self._count, block=int(READ_SECONDS * 1000)
        )
        return list(found[0][1]) if found else []

    def _claim(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return entries that were not acknowledged for long, and are this reader's from now on."""
        idle = int(CLAIM_AFTER * 1000)
        answer: Any = self._redis.xautoclaim(
            self._stream, self._group, self._consumer, idle, self._cursor, count=self._count
        )
        self._cursor = answer[0]
        if self._cursor in (b"0-0", "0-0"):
            self._claimed_at = time.monotonic()
        return [(entry, fields) for entry, fields in answer[1] if fields is not None]

    def _forget_readers(self) -> None:
        consumers: Any = self._redis.xinfo_consumers(self._stream, self._group)
        for consumer in consumers:
            if not consumer["pending"] and consumer["idle"] > FORGET_AFTER * 1000:
                self._redis.xgroup_delconsumer(self._stream, self._group, consumer["name"])

    def _build_record(self, entry: bytes, fields: dict[bytes, bytes]) -> StreamRecord:
        name = entry.decode()
        return StreamRecord(
            value=fields.get(VALUE),
            position=f"redis:{self._stream}/{name}",
            origin={"stream": self._stream, "entry": name},
            headers={KEY_HEADER: fields[ID].decode(errors="replace")} if ID in fields else {},
            handle=(entry, fields),
        )
