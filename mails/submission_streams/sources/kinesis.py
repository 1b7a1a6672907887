"""A stream of Amazon Kinesis Data Streams as a source. The positions of its shards are in Mercury's database.

Kinesis allows five reads of a shard a second
(https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html).
"""

import base64
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from mails.events.cloud_events import SPEC_VERSION, Record
from mails.events.sinks import kinesis
from mails.events.sinks.base import SinkUnavailable
from mails.events.stream_urls import KinesisAddress
from mails.submission_streams.records import DeadLetter, StreamRecord
from mails.submission_streams.sources.base import AT_ONCE, READ_SECONDS, Lag, SourceUnavailable
from mails.submission_streams.sources.shards import Shards

LOOK_EVERY = 2.0  # seconds between two looks for shards; much less than a lease
SHARD_EVERY = 0.25  # seconds between two reads of one shard
REJECTED_TYPE = "mercury.submission.rejected"
_BUSY = frozenset({"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"})
_EXPIRED = frozenset({"ExpiredIteratorException"})


@dataclass(slots=True)
class _Reading:
    """A shard that this process reads. `iterator`: where it goes on; None at the end of a closed shard, empty if not known."""

    position: str
    iterator: str | None = ""
    lag: float = 0.0  # seconds
    due: float = 0.0  # on the monotonic clock


class KinesisSource:
    """Reads the shards that this process has leased, by turns. `name`: of the stream in Mercury."""

    def __init__(self, address: KinesisAddress, *, rejected: str, name: str, process: str) -> None:
        self._stream = address.stream
        self._rejected_address = KinesisAddress(stream=rejected, region=address.region, endpoint=address.endpoint)
        try:
            self._client = kinesis.connect(address)
        except BotoCoreError as error:
            raise SourceUnavailable(f"{self._stream}: {error}") from error
        self._sink: kinesis.KinesisSink | None = None
        self._shards = Shards(name, process=process)
        self._reading: dict[str, _Reading] = {}
        self._looked_at = -LOOK_EVERY
        self._pause = threading.Event()

    def read(self) -> Sequence[StreamRecord]:
        """Return the next records of one shard. Raises SourceUnavailable, or a database error."""
        ends = time.monotonic() + READ_SECONDS
        while True:
            self._look()
            now = time.monotonic()
            for shard, reading in list(self._reading.items()):
                if reading.due <= now and (records := self._read_shard(shard, reading)):
                    self._reading[shard] = self._reading.pop(shard)  # the others come first now
                    return records
            if now >= ends:
                return []
            self._pause.wait(SHARD_EVERY / 2)

    def acknowledge(self, records: Sequence[StreamRecord]) -> None:
        """Record how far the shard is; one that another process has taken is left to it. Raises a database error."""
        shard, position = records[-1].handle
        if not self._shards.advance(shard, position):
            self._reading.pop(shard, None)

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Put the records, each within a CloudEvent that says why. Raises SourceUnavailable.

        A record too large for that goes there without its data.
        """
        try:
            self._sink = self._sink or kinesis.KinesisSink(self._rejected_address)
            refused = self._sink.publish([_build_letter(number, letter) for number, letter in enumerate(letters)])
            if refused:
                cut = [_build_letter(number, letters[number], is_cut=True) for number in refused]
                if still := self._sink.publish(cut):
                    raise SourceUnavailable(next(iter(still.values())))
        except SinkUnavailable as error:
            raise SourceUnavailable(f"dead letters: {error}") from error

    def keep(self, records: Sequence[StreamRecord]) -> None:
        """Renew the leases. Raises SourceUnavailable, or a database error."""
        self._look()

    def measure_lag(self) -> Lag:
        """Return how far the slowest shard is behind. Raises a database error."""
        return Lag(seconds=self._shards.note_lag({shard: reading.lag for shard, reading in self._reading.items()}))

    def close(self) -> None:
        """Release the shards."""
        self._pause.set()
        self._client.close()
        if self._sink is not None:
            self._sink.close()
        self._shards.release()

    def _look(self) -> None:
        """Find the shards, and lease some, every few seconds."""
        if time.monotonic() - self._looked_at < LOOK_EVERY:
            return
        parents = self._list_shards()
        self._shards.sync(parents)
        leased = self._shards.lease(parents)
        self._reading = {
            shard: self._reading.get(shard) or _Reading(position=position) for shard, position in leased.items()
        }
        self._looked_at = time.monotonic()

    def _list_shards(self) -> dict[str, tuple[str, ...]]:
        """Return all shards, each with those it was made from, as far as they still exist."""
        shards: list[Mapping[str, Any]] = []
        options: dict[str, Any] = {"StreamName": self._stream}
        while options:
            answer = self._call("list_shards", **options)
            shards += answer["Shards"]
            options = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        names: set[Any] = {shard["ShardId"] for shard in shards}
        made_from: dict[str, tuple[Any, Any]] = {
            str(shard["ShardId"]): (shard.get("ParentShardId"), shard.get("AdjacentParentShardId")) for shard in shards
        }
        return {shard: tuple(parent for parent in parents if parent in names) for shard, parents in made_from.items()}

    def _read_shard(self, shard: str, reading: _Reading) -> list[StreamRecord]:
        if reading.iterator is None:
            self._shards.finish(shard)
            del self._reading[shard]
            self._looked_at = -LOOK_EVERY  # the shards made from it may be read now
            return []
        reading.due = time.monotonic() + SHARD_EVERY
        try:
            reading.iterator = reading.iterator or self._find_iterator(shard, reading.position)
            answer = self._call("get_records", ShardIterator=reading.iterator, Limit=AT_ONCE)
        except _Again as again:
            if again.is_expired:
                reading.iterator = ""
            return []
        reading.iterator = answer.get("NextShardIterator")
        reading.lag = answer.get("MillisBehindLatest", 0) / 1000
        if answer["Records"]:
            reading.position = answer["Records"][-1]["SequenceNumber"]
        return [self._build_record(shard, record) for record in answer["Records"]]

    def _find_iterator(self, shard: str, position: str) -> str:
        """Return where to go on: behind this record, or at the oldest one."""
        where = {"ShardIteratorType": "TRIM_HORIZON"}
        if position:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": position}
        answer = self._call("get_shard_iterator", StreamName=self._stream, ShardId=shard, **where)
        return str(answer["ShardIterator"])

    def _call(self, name: str, **options: Any) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = getattr(self._client, name)(**options)
        except ClientError as error:
            code = error.response["Error"].get("Code", "error")
            if code in _BUSY | _EXPIRED and name != "list_shards":
                raise _Again(is_expired=code in _EXPIRED) from error
            raise SourceUnavailable(f"{self._stream}: {code}") from error
        except BotoCoreError as error:
            raise SourceUnavailable(f"{self._stream}: {type(error).__name__}") from error
        return answer

    def _build_record(self, shard: str, record: Mapping[str, Any]) -> StreamRecord:
        number = record["SequenceNumber"]
        return StreamRecord(
            value=record["Data"],
            position=f"kinesis:{self._stream}/{shard}/{number}",
            origin={
                "stream": self._stream,
                "shard": shard,
                "sequence_number": number,
                "partition_key": record["PartitionKey"],
            },
            headers={},
            handle=(shard, number),
        )


class _Again(Exception):
    """Kinesis is too busy for a read, or has forgotten the iterator (`is_expired`)."""

    def __init__(self, *, is_expired: bool) -> None:
        self.is_expired = is_expired


def _build_letter(number: int, letter: DeadLetter, *, is_cut: bool = False) -> Record:
    """Return a rejected record as a CloudEvent; its data in base64, as they may be anything."""
    record = letter.record
    data = b"" if is_cut else base64.b64encode(record.value or b"")
    problem, origin = orjson.Fragment(letter.rejection.encode()), dict(record.origin)
    return Record(
        event_id=number,
        key=record.origin["partition_key"],
        attributes={
            "specversion": SPEC_VERSION,
            "id": record.position,
            "source": f"/mercury/{record.origin['stream']}",
            "type": REJECTED_TYPE,
        },
        data=orjson.dumps({"problem": problem, "origin": origin, "data_base64": data.decode()}),
    )
