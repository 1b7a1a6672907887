"""A stream of Amazon Kinesis Data Streams as a sink. The email's id is the partition key: its events stay in order.

PutRecords may refuse single records and take those behind them
(https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html). So one call carries at most one record of
each email, and an email's next record waits until its last one was taken.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mails.events.cloud_events import Record
from mails.events.sinks.base import MOST_REASON, SinkUnavailable
from mails.events.stream_urls import KinesisAddress

MOST_RECORDS = 500  # of one call
MOST_BYTES = 4_000_000  # of one call, below the 5 MB that older limits and emulators allow
TIMEOUT = 5.0  # seconds of one call
LONGEST = 10.0  # seconds that one group may take, and one call more
WAIT = 0.1  # seconds before the next call, where a shard was too busy
_BUSY = frozenset({"ProvisionedThroughputExceededException", "InternalFailure", "KMSThrottlingException"})


def connect(address: KinesisAddress) -> Any:
    """Return a client for the stream, which waits 5 s at most and repeats nothing by itself."""
    return boto3.client(
        "kinesis",
        region_name=address.region or None,
        endpoint_url=address.endpoint or None,
        config=Config(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, retries={"total_max_attempts": 1}),
    )


class KinesisSink:
    """Puts records to one stream."""

    def __init__(self, address: KinesisAddress) -> None:
        self._stream = address.stream
        self._client = connect(address)
        self._pause = threading.Event()

    def publish(self, records: Sequence[Record]) -> Mapping[int, str]:
        """Put the records, and return once the stream has them all. Raises SinkUnavailable."""
        waiting: dict[str, deque[Record]] = {}
        for record in records:
            waiting.setdefault(record.key, deque()).append(record)
        refused: dict[int, str] = {}
        ends = time.monotonic() + LONGEST
        while waiting:
            if time.monotonic() > ends:
                raise SinkUnavailable(f"{self._stream}: its shards did not take all within {LONGEST:g} s")
            call = _pick(waiting)
            busy = False
            for record, answer in zip(call, self._put(call), strict=True):
                code = answer.get("ErrorCode", "")
                if code in _BUSY:
                    busy = True
                    continue
                if code:
                    refused[record.event_id] = f"{code}: {answer.get('ErrorMessage', '')}"[:MOST_REASON]
                _remove_first(waiting, record.key)
            if busy:
                self._pause.wait(WAIT)
        return refused

    def close(self) -> None:
        """End a wait, and close the connections."""
        self._pause.set()
        self._client.close()

    def _put(self, records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
        entries = [{"Data": record.encode(), "PartitionKey": record.key} for record in records]
        try:
            answer = self._client.put_records(StreamName=self._stream, Records=entries)
        except ClientError as error:
            raise SinkUnavailable(f"{self._stream}: {error.response['Error'].get('Code', 'error')}") from error
        except BotoCoreError as error:
            raise SinkUnavailable(f"{self._stream}: {type(error).__name__}") from error
        found: Sequence[Mapping[str, Any]] = answer["Records"]
        return found


def _remove_first(waiting: dict[str, deque[Record]], key: str) -> None:
    waiting[key].popleft()
    if not waiting[key]:
        del waiting[key]


def _pick(waiting: Mapping[str, deque[Record]]) -> list[Record]:
    """Return the next record of each email, as many as one call may carry."""
    picked: list[Record] = []
    size = 0
    for queue in waiting.values():
        size += len(queue[0].data) + len(queue[0].key) + 512  # its attributes
        if picked and (size > MOST_BYTES or len(picked) == MOST_RECORDS):
            break
        picked.append(queue[0])
    return picked
