"""A Kafka topic as a sink, by an idempotent producer. Events of one email have one key, so one partition, and stay in order.

CloudEvents in binary mode: attributes as headers `ce_…`, data as the value (CloudEvents Kafka protocol binding 1.0.2).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from mails.events.cloud_events import CONTENT_TYPE, Record
from mails.events.sinks.base import MOST_REASON, SinkUnavailable

TIMEOUT = 15.0  # seconds for one group
_REFUSED = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG})


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
        """Produce the entries, in order, and return once all in-sync replicas have them.

        Returns the reason for each that the brokers refuse for good, by its number. Raises SinkUnavailable.
        """
        refused: dict[int, str] = {}
        failed: list[str] = []
        self._error = ""
        try:
            producer = self._producer = self._producer or Producer(self._options)
            for entry in entries:
                self._produce(producer, entry, partial(_note_delivery, refused, failed, entry.number))
            left = producer.flush(TIMEOUT)
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

    def _produce(
        self, producer: Producer, entry: KafkaEntry, note: Callable[[KafkaError | None, Message | None], None]
    ) -> None:
        """Queue one entry. One that no broker would take is noted at once."""
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
