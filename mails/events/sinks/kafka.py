"""A Kafka topic as a sink, by an idempotent producer. Events of one email have one key, so one partition, and stay in order.

Brokers refuse whole batches: one that is larger than the topic allows, or that holds one invalid record. librdkafka does not
split them (KIP-126). So what was refused is sent again in halves, and only what is refused alone is refused for good. An
email's next event waits until its last one was taken or refused: one round has at most one event of each email.

CloudEvents in binary mode: attributes as headers `ce_…`, data as the value (CloudEvents Kafka protocol binding 1.0.2).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from mails.events.cloud_events import CONTENT_TYPE, Record
from mails.events.sinks.base import MOST_REASON, SinkUnavailable
from mails.events.sinks.rounds import split_rounds

TIMEOUT = 15.0  # seconds for one group
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError._INVALID_DIFFERENT_RECORD,  # valid itself, in a batch with one that is not
        KafkaError.INVALID_MSG,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaEntry:
    """A record of a topic. `number`: names it to the caller."""

    number: int
    key: str | bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, str | bytes | None]]


class KafkaSink:
    """Publishes events to one topic. `options`: of librdkafka, with `bootstrap.servers`."""

    def __init__(self, topic: str, options: Mapping[str, Any]) -> None:
        self._writer = KafkaWriter(topic, options)

    def publish(self, records: Sequence[Record]) -> Mapping[int, str]:
        """Produce the records, and return once all in-sync replicas have them. Raises SinkUnavailable."""
        return self._writer.write(
            [
                KafkaEntry(number=record.event_id, key=record.key, value=record.data, headers=_build_headers(record))
                for record in records
            ]
        )

    def close(self) -> None:
        """Drop the producer, and what it has not sent."""
        self._writer.close()


class KafkaWriter:
    """Produces to one topic. `options`: of librdkafka, with `bootstrap.servers`."""

    def __init__(self, topic: str, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._options = {
            **options,
            "enable.idempotence": True,  # acks=all, and no reordering when a request is repeated
            "message.timeout.ms": 0,  # none: one that expired alone would leave those behind it to go first
            "linger.ms": 5,
            "client.id": "mercury",
            "error_cb": self._note_error,
            "log_level": 2,  # on standard error: the worker's log has what matters
        }
        self._producer: Producer | None = None
        self._error = ""  # what the client library said last

    def write(self, entries: Sequence[KafkaEntry]) -> Mapping[int, str]:
        """Produce the entries, those of one key in order, and return once all in-sync replicas have them.

        Returns the reason for each that the brokers refuse for good, by its number. Raises SinkUnavailable.
        """
        refused: dict[int, str] = {}
        ends = time.monotonic() + TIMEOUT
        for entries_of_round in split_rounds(entries, _get_key):
            refused |= self._write_round(entries_of_round, ends)
        return refused

    def _write_round(self, entries: Sequence[KafkaEntry], ends: float) -> dict[int, str]:
        """Produce the entries; those that are refused again in halves, until it is clear which of them are."""
        refused = self._produce(entries, ends)
        if len(entries) == 1 or not refused:
            return refused
        again = [entry for entry in entries if entry.number in refused]
        middle = (len(again) + 1) // 2
        halves = (half for half in (again[:middle], again[middle:]) if half)
        return {number: reason for half in halves for number, reason in self._write_round(half, ends).items()}

    def _produce(self, entries: Sequence[KafkaEntry], ends: float) -> dict[int, str]:
        """Produce the entries once. Return the reason for each that was refused, alone or with its batch."""
        refused: dict[int, str] = {}
        failed: list[str] = []
        self._error = ""
        try:
            producer = self._producer = self._producer or Producer(self._options)
            for entry in entries:
                self._queue(producer, entry, refused, failed)
            left = producer.flush(max(0.0, ends - time.monotonic()))
        except (KafkaException, BufferError) as error:
            self.close()
            raise SinkUnavailable(_describe(error)) from error
        if failed or left:
            reason = failed[0] if failed else self._error or f"no answer within {TIMEOUT:g} s"
            self.close()  # what is still in its queue must not be sent behind what follows
            raise SinkUnavailable(reason)
        return refused

    def _note_error(self, error: KafkaError) -> None:
        self._error = error.str()

    def _queue(self, producer: Producer, entry: KafkaEntry, refused: dict[int, str], failed: list[str]) -> None:
        """Queue one entry. One that no broker would take is noted at once."""
        note = partial(_note_delivery, refused, failed, entry.number)
        try:
            producer.produce(self._topic, entry.value, key=entry.key, headers=list(entry.headers), on_delivery=note)
        except KafkaException as error:
            if error.args[0].code() not in _REFUSED:
                raise
            note(error.args[0], None)
        producer.poll(0)

    def close(self) -> None:
        """Drop the producer, and what it has not sent."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1)


def _get_key(entry: KafkaEntry) -> object:
    """Return its key; one without a key is in order with no other."""
    return entry.number if entry.key is None else entry.key


def _build_headers(record: Record) -> list[tuple[str, str | bytes | None]]:
    named: list[tuple[str, str | bytes | None]] = [
        (f"ce_{name}", value) for name, value in record.attributes.items() if name != "datacontenttype"
    ]
    return [*named, ("content-type", CONTENT_TYPE)]


def _note_delivery(
    refused: dict[int, str], failed: list[str], number: int, error: KafkaError | None, message: Message | None
) -> None:
    if error is None:
        return
    if error.code() in _REFUSED:
        refused[number] = error.str()[:MOST_REASON]
    else:
        failed.append(error.str())


def _describe(error: Exception) -> str:
    return error.args[0].str() if error.args and isinstance(error.args[0], KafkaError) else str(error)
