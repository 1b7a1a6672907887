"""A Redis stream as a sink. Capped: Redis drops the oldest entries, so that it never fills its memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from mails.events.cloud_events import Record
from mails.events.sinks.base import SinkUnavailable

TIMEOUT = 10.0  # seconds for one group


class RedisStreamSink:
    """Appends to a stream by XADD. An entry has the fields `event` (the CloudEvent as JSON), `type` and `mail`."""

    def __init__(self, url: str, *, stream: str, most: int) -> None:
        self._stream, self._most = stream, most
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
        )

    def publish(self, records: Sequence[Record]) -> Mapping[int, str]:
        """Append the records in one transaction: all or none. Raises SinkUnavailable."""
        try:
            with self._redis.pipeline(transaction=True) as pipeline:
                for record in records:
                    fields: dict[Any, Any] = {
                        "event": record.encode(),
                        "type": record.attributes["type"],
                        "mail": record.key,
                    }
                    pipeline.xadd(self._stream, fields, maxlen=self._most, approximate=True)
                pipeline.execute()
        except RedisError as error:
            raise SinkUnavailable(f"{type(error).__name__}: {error}") from error
        return {}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
