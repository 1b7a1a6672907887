"""A Kafka topic as a source, by a consumer group whose offsets are committed by hand.

One thread reads, accepts and commits, and the client gives partitions away only while it reads: so what is in progress is
either committed, or refused by the broker because another member has the partition, which then gets the same records again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from mails.events.sinks.base import SinkUnavailable
from mails.events.sinks.kafka import KafkaEntry, KafkaWriter
from mails.submission_streams.records import DeadLetter, StreamRecord
from mails.submission_streams.sources.base import AT_ONCE, MOST_BYTES, READ_SECONDS, Lag, SourceUnavailable

log = structlog.get_logger(__name__)

TIMEOUT = 5.0  # seconds for one request
GATHER_SECONDS = 0.02  # that a group waits for more records
PROBLEM, ORIGIN = "mercury-problem", "mercury-origin"  # headers of a dead letter
_CONSUMER = {
    "client.id": "mercury",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "session.timeout.ms": 30_000,
    "queued.max.messages.kbytes": MOST_BYTES // 1024,
    "fetch.message.max.bytes": MOST_BYTES // 8,
    "log_level": 2,  # on standard error: the worker's log has what matters
}
_LOST = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._NO_OFFSET,
        KafkaError._STATE,
    }
)


class KafkaSource:
    """Reads one topic as a member of a group. `options`: of librdkafka, with `bootstrap.servers`."""

    def __init__(self, topic: str, options: Mapping[str, Any], *, rejected: str, group: str) -> None:
        self._topic, self._rejected = topic, rejected
        self._error = ""  # what the client library said last
        try:
            self._consumer = Consumer({**options, **_CONSUMER, "group.id": group, "error_cb": self._note_error})
            self._consumer.subscribe([topic])
        except KafkaException as error:
            raise SourceUnavailable(_describe(error)) from error
        self._writer = KafkaWriter(rejected, options)

    def read(self) -> Sequence[StreamRecord]:
        """Return the next records of the partitions that this member has. Raises SourceUnavailable."""
        try:
            first = self._consumer.poll(READ_SECONDS)
            if first is None:
                if self._error:
                    self._consumer.list_topics(self._topic, timeout=TIMEOUT)  # raises if the brokers are still away
                    self._error = ""
                return []
            messages = [first, *self._consumer.consume(AT_ONCE - 1, timeout=GATHER_SECONDS)]
        except KafkaException as error:
            raise SourceUnavailable(_describe(error)) from error
        self._error = ""
        for message in messages:
            if (problem := message.error()) is not None:
                raise SourceUnavailable(f"{self._topic}: {problem.str()}")
        return [self._build_record(message) for message in messages]

    def acknowledge(self, records: Sequence[StreamRecord]) -> None:
        """Commit the offsets behind these records, of the partitions that this member still has. Raises SourceUnavailable."""
        last: dict[int, int] = {}
        for record in records:
            message: Message = record.handle
            last[_get(message.partition())] = _get(message.offset())
        try:
            assigned = {partition.partition for partition in self._consumer.assignment()}
            offsets = [
                TopicPartition(self._topic, number, offset + 1) for number, offset in last.items() if number in assigned
            ]
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in _LOST:
                raise SourceUnavailable(_describe(error)) from error
            log.info("partitions_lost", topic=self._topic, error=_describe(error))

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        """Produce the records as they were, with two more headers. Raises SourceUnavailable.

        A record that the brokers refuse again, being a little larger now, goes there without its value.
        """
        entries = [self._build_letter(number, letter) for number, letter in enumerate(letters)]
        try:
            refused = self._writer.write(entries)
            if refused:
                log.error("rejected_record_cut", topic=self._rejected, reason=next(iter(refused.values())))
                cut = [self._build_letter(number, letters[number], is_cut=True) for number in refused]
                if still := self._writer.write(cut):
                    raise SourceUnavailable(f"{self._rejected}: {next(iter(still.values()))}")
        except SinkUnavailable as error:
            raise SourceUnavailable(f"{self._rejected}: {error}") from error

    def keep(self, records: Sequence[StreamRecord]) -> None:
        """Stay in the group, and fetch nothing more. Raises SourceUnavailable if partitions were given to this member anew."""
        try:
            self._consumer.pause(self._consumer.assignment())
            message = self._consumer.poll(0)
            self._consumer.resume(self._consumer.assignment())
        except KafkaException as error:
            raise SourceUnavailable(_describe(error)) from error
        if message is not None:
            raise SourceUnavailable(f"{self._topic}: the group has shared its partitions again")

    def measure_lag(self) -> Lag:
        """Return the records of all partitions behind the committed offsets. Raises SourceUnavailable."""
        try:
            topic = self._consumer.list_topics(self._topic, timeout=TIMEOUT).topics[self._topic]
            partitions = [TopicPartition(self._topic, number) for number in topic.partitions]
            records = 0
            for partition in self._consumer.committed(partitions, timeout=TIMEOUT):
                low, high = self._consumer.get_watermark_offsets(partition, timeout=TIMEOUT)
                records += max(0, high - max(partition.offset, low))  # below zero: none is committed
        except KafkaException as error:
            raise SourceUnavailable(_describe(error)) from error
        return Lag(records=records)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()
        self._writer.close()

    def _note_error(self, error: KafkaError) -> None:
        self._error = error.str()

    def _build_record(self, message: Message) -> StreamRecord:
        partition, offset = _get(message.partition()), _get(message.offset())
        moment = message.timestamp()[1]  # a topic that was deleted and created again counts from zero
        pairs: Any = message.headers() or ()
        headers = {name.lower(): text.decode(errors="replace") for name, text in pairs if text is not None}
        return StreamRecord(
            value=_encode(message.value()),
            position=f"kafka:{self._topic}/{partition}/{offset}@{moment}",
            origin={"topic": self._topic, "partition": partition, "offset": offset, "timestamp": moment},
            headers=headers,
            handle=message,
        )

    def _build_letter(self, number: int, letter: DeadLetter, *, is_cut: bool = False) -> KafkaEntry:
        message: Message = letter.record.handle
        return KafkaEntry(
            number=number,
            key=message.key(),
            value=None if is_cut else letter.record.value,
            headers=[
                *(() if is_cut else message.headers() or ()),
                (PROBLEM, letter.rejection.encode()),
                (ORIGIN, orjson.dumps(letter.record.origin)),
            ],
        )


def _get(number: int | None) -> int:
    assert number is not None  # noqa: S101 (a message that was consumed has a partition and an offset)
    return number


def _encode(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _describe(error: KafkaException) -> str:
    cause = error.args[0] if error.args else error
    return cause.str() if isinstance(cause, KafkaError) else str(cause)
