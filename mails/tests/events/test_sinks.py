"""Each sink speaks to its real protocol: a file, Redis, librdkafka's mock cluster, moto's Kinesis."""

import json
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError

from mails.events.cloud_events import Record
from mails.events.sinks.base import SinkUnavailable
from mails.events.sinks.config import parse_sink
from mails.tests.brokers import brokers, kinesis, kinesis_client, stream
from mails.tests.kafka_broker import ACCEPT, HANG_UP, Broker, serve_kafka
from mails.tests.kinesis_server import serve_kinesis

__all__ = ["brokers", "kinesis", "stream"]

HEADERS = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/mercury", "ce_type": "mercury.mail.new"}


def a_record(number: int, key: str = "hera", data: bytes = b'{"event":"NEW"}') -> Record:
    attributes = {
        "specversion": "1.0",
        "id": str(number),
        "source": "/mercury",
        "type": "mercury.mail.new",
        "subject": key,
        "time": "2026-01-01T00:00:00Z",
        "datacontenttype": "application/json",
    }
    return Record(event_id=number, key=key, attributes=attributes, data=data)


def open_sink(url: str):
    return parse_sink("EVENT_SINK_TEST", url).open()


# A file


def test_a_file_has_one_event_per_line(tmp_path: Path):
    sink = open_sink(f"file://{tmp_path}/events.jsonl")

    sink.publish([a_record(1), a_record(2)])
    sink.publish([a_record(3)])

    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["1", "2", "3"]


def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"specversion":"1.')

    open_sink(f"file://{path}").publish([a_record(1)])

    assert json.loads(path.read_text().splitlines()[1])["id"] == "1"


def test_a_file_that_was_rotated_is_made_again(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    sink = open_sink(f"file://{path}")
    sink.publish([a_record(1)])
    path.rename(tmp_path / "events.jsonl.1")

    sink.publish([a_record(2)])

    assert json.loads(path.read_text())["id"] == "2"


def test_a_folder_that_is_missing_makes_the_sink_unavailable(tmp_path: Path):
    with pytest.raises(SinkUnavailable, match="No such file"):
        open_sink(f"file://{tmp_path}/missing/events.jsonl").publish([a_record(1)])


# Redis


def test_a_stream_has_one_entry_per_event_in_order(stream):
    name, redis = stream

    open_sink(f"redis:?stream={name}").publish([a_record(1), a_record(2)])

    entries = [fields for _, fields in redis.xrange(name)]
    assert [json.loads(fields[b"event"])["id"] for fields in entries] == ["1", "2"]
    assert entries[0][b"type"] == b"mercury.mail.new"
    assert entries[0][b"mail"] == b"hera"


def test_a_stream_is_capped(stream):
    name, redis = stream

    open_sink(f"redis:?stream={name}&maxlen=1000").publish([a_record(number) for number in range(3000)])

    assert 1000 <= redis.xlen(name) < 1200


def test_redis_that_is_away_makes_the_sink_unavailable():
    with pytest.raises(SinkUnavailable, match="ConnectionError"):
        open_sink("redis://127.0.0.1:1/0").publish([a_record(1)])


# Kafka


def consume(brokers: str, topic: str, count: int):
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        found: list = []
        while len(found) < count:
            found += consumer.consume(count, timeout=20)
            assert found, "no message within 20 s"
        return found
    finally:
        consumer.close()


def test_kafka_has_each_event_in_binary_mode_with_the_email_as_key(brokers):
    topic = f"t-{uuid.uuid4().hex}"
    sink = open_sink(f"kafka://{brokers}/{topic}")

    assert sink.publish([a_record(1), a_record(2), a_record(3, key="zeus")]) == {}

    messages = consume(brokers, topic, 3)
    sink.close()
    first = next(message for message in messages if message.key() == b"hera")
    headers = {name: value.decode() for name, value in first.headers()}
    assert headers.items() >= HEADERS.items()
    assert headers["content-type"] == "application/json"
    assert json.loads(first.value()) == {"event": "NEW"}
    ids = [dict(message.headers())["ce_id"] for message in messages if message.key() == b"hera"]
    assert ids == [b"1", b"2"]


def test_kafka_refuses_a_record_that_no_broker_would_take_and_has_the_others(brokers):
    topic = f"t-{uuid.uuid4().hex}"
    sink = open_sink(f"kafka://{brokers}/{topic}")

    refused = sink.publish([a_record(1), a_record(2, data=b"x" * 2_000_000), a_record(3)])

    sink.close()
    assert list(refused) == [2]
    assert "size" in refused[2].lower()
    assert len(consume(brokers, topic, 2)) == 2


def test_a_batch_that_is_too_large_for_the_topic_is_sent_in_parts():
    records = [a_record(number, key=f"mail {number % 20}", data=b"x" * 500) for number in range(1, 201)]
    records[50] = a_record(51, key="mail 11", data=b"x" * 9000)
    with serve_kafka(lambda size, batch: KafkaError.MSG_SIZE_TOO_LARGE if size > 8000 else ACCEPT) as broker:
        sink = open_sink(f"kafka://{broker.address}/events")

        refused = sink.publish(records)

        sink.close()
    assert list(refused) == [51]
    assert sorted(stored_ids(broker)) == [number for number in range(1, 201) if number != 51]
    for key in {record.key for record in records}:
        own = stored_ids(broker, key)
        assert own == sorted(own)


def test_an_invalid_record_refuses_no_other_of_its_batch():
    def judge(size: int, batch) -> int:
        return KafkaError.INVALID_RECORD if any(record.value == b"{}" for record in batch) else ACCEPT

    records = [a_record(1), a_record(2, key="iris", data=b"{}"), a_record(3), a_record(4, key="iris"), a_record(5)]
    with serve_kafka(judge) as broker:
        sink = open_sink(f"kafka://{broker.address}/events")

        refused = sink.publish(records)

        sink.close()
    assert list(refused) == [2]
    assert (stored_ids(broker, "hera"), stored_ids(broker, "iris")) == ([1, 3, 5], [4])


def test_a_batch_whose_answer_is_lost_is_there_once():
    answers = iter([HANG_UP])
    with serve_kafka(lambda size, batch: next(answers, ACCEPT)) as broker:
        sink = open_sink(f"kafka://{broker.address}/events")

        assert sink.publish([a_record(1), a_record(2, key="iris")]) == {}

        sink.close()
    assert stored_ids(broker) == [1, 2]


def stored_ids(broker: Broker, key: str = "") -> list[int]:
    return [int(record.headers["ce_id"]) for record in broker.stored if not key or record.key == key.encode()]


def test_kafka_without_a_broker_makes_the_sink_unavailable(monkeypatch):
    monkeypatch.setattr("mails.events.sinks.kafka.TIMEOUT", 1.0)
    sink = open_sink("kafka://127.0.0.1:1/events")

    with pytest.raises(SinkUnavailable, match="Connect"):
        sink.publish([a_record(1)])


# Kinesis


def read_stream(endpoint: str, stream: str) -> list[dict]:
    kinesis = kinesis_client(endpoint)
    found = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        position = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += [json.loads(record["Data"]) for record in kinesis.get_records(ShardIterator=position)["Records"]]
    return found


def test_kinesis_has_the_events_of_one_email_in_order(kinesis):
    sink = open_sink(f"kinesis://events?region=eu-central-1&endpoint={kinesis}")

    sink.publish([a_record(number, key=key) for number in range(1, 6) for key in ("hera", "iris")])

    found = read_stream(kinesis, "events")
    assert [event["id"] for event in found if event["subject"] == "hera"] == ["1", "2", "3", "4", "5"]
    assert len(found) == 10


def test_kinesis_without_the_stream_is_unavailable(kinesis):
    sink = open_sink(f"kinesis://missing?region=eu-central-1&endpoint={kinesis}")

    with pytest.raises(SinkUnavailable, match="ResourceNotFoundException"):
        sink.publish([a_record(1)])


def test_a_busy_shard_gets_its_records_again_in_order(kinesis, monkeypatch):
    monkeypatch.setattr("mails.events.sinks.kinesis.WAIT", 0.0)
    sink = open_sink(f"kinesis://events?region=eu-central-1&endpoint={kinesis}")
    calls: list[list[str]] = []
    refusals = iter(["ProvisionedThroughputExceededException", "InternalFailure"])

    def put_records(**call) -> dict:
        calls.append([json.loads(entry["Data"])["id"] for entry in call["Records"]])
        answers = [{"SequenceNumber": "1"} for _ in call["Records"]]
        code = next(refusals, None)
        if code:
            answers[0] = {"ErrorCode": code, "ErrorMessage": "slow down"}
        return {"Records": answers}

    monkeypatch.setattr(sink._client, "put_records", put_records)

    refused = sink.publish([a_record(1), a_record(2), a_record(3, key="iris"), a_record(4, key="iris")])

    assert refused == {}
    assert calls == [["1", "3"], ["1", "4"], ["1"], ["2"]]


def test_a_record_that_kinesis_refuses_for_good_is_named(kinesis, monkeypatch):
    sink = open_sink(f"kinesis://events?region=eu-central-1&endpoint={kinesis}")
    answers = {"Records": [{"ErrorCode": "ValidationException", "ErrorMessage": "too large"}, {"SequenceNumber": "1"}]}
    monkeypatch.setattr(sink._client, "put_records", lambda **call: answers)

    assert sink.publish([a_record(1), a_record(2, key="iris")]) == {1: "ValidationException: too large"}


def test_a_call_to_kinesis_whose_answer_is_lost_is_made_again_with_all_records(kinesis):
    lost = iter([True])
    with serve_kinesis(lambda events: [""] * len(events), loses_answer=lambda: next(lost, False)) as server:
        sink = open_sink(f"kinesis://events?region=eu-central-1&endpoint={server.url}")

        with pytest.raises(SinkUnavailable, match="InternalFailure"):
            sink.publish([a_record(1), a_record(2)])
        assert sink.publish([a_record(1), a_record(2)]) == {}

    assert [event["id"] for event in server.stored] == ["1", "1", "2"]
