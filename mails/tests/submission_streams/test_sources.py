"""Each source speaks to its real protocol: Redis, librdkafka's mock cluster, moto's Kinesis."""

import base64
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, Producer, TopicPartition
from django.utils import timezone
from redis import Redis

from mails.models import Mail, StreamShard, SubmissionStream
from mails.submission_streams.config import parse_stream
from mails.submission_streams.reader import StreamReader
from mails.submission_streams.records import StreamRecord
from mails.submission_streams.sources import redis_streams
from mails.submission_streams.sources.base import Source, SourceUnavailable
from mails.tests.brokers import brokers, kinesis, kinesis_client, stream
from mails.tests.submission_streams.builders import a_key, an_email

__all__ = ["brokers", "kinesis", "stream"]

pytestmark = pytest.mark.django_db(transaction=True)


def a_reader(url: str, *, process: str = "a") -> StreamReader:
    return StreamReader(parse_stream("SUBMISSION_STREAM_TEST", url), process=process)


def a_source(url: str, *, process: str = "a") -> Source:
    return parse_stream("SUBMISSION_STREAM_TEST", url).open(process)


def read_until(source: Source, count: int) -> list[StreamRecord]:
    found: list[StreamRecord] = []
    for _ in range(30):
        found += source.read()
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} of {count} records")


def run_until(reader: StreamReader, count: int) -> None:
    """Run passes until this many records are finished."""
    finished = 0
    for _ in range(30):
        done = reader.run_pass()
        assert not done.is_failing, SubmissionStream.objects.get().last_error
        finished += done.records
        if finished >= count:
            return
    raise AssertionError(f"{finished} of {count} records")


def encode(*values: object) -> list[bytes]:
    return [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]


def subjects() -> list[str]:
    return sorted(Mail.objects.values_list("subject", flat=True))


# Redis


@pytest.fixture
def rejected(stream) -> Iterator[str]:
    name, redis = stream
    yield f"{name}.rejected"
    redis.delete(f"{name}.rejected")


def add(stream: tuple[str, Redis], *values: object, **fields: str) -> None:
    name, redis = stream
    for value in encode(*values):
        entry: dict[Any, Any] = {"mail": value, **fields}
        redis.xadd(name, entry)


def test_redis_entries_are_emails_or_dead_letters_and_then_gone(stream, rejected):
    name, redis = stream
    add(stream, an_email("a"), b"{", id="1")
    add(stream, an_email("b"), id="2")
    reader = a_reader(f"redis:?stream={name}&key={a_key().prefix}")

    run_until(reader, 3)

    assert subjects() == ["a", "b"]
    assert redis.xlen(name) == 0
    [(_, letter)] = redis.xrange(rejected)
    assert letter[b"mail"] == b"{"
    assert letter[b"id"] == b"1"
    assert json.loads(letter[b"problem"])["code"] == "not_json"
    assert json.loads(letter[b"origin"])["stream"] == name
    assert SubmissionStream.objects.get().lag == 0
    reader.close()
    assert redis.xinfo_consumers(name, "mercury") == []


def test_entries_of_a_reader_that_died_go_to_another_one_first(stream, monkeypatch):
    name, _ = stream
    add(stream, an_email("a"), an_email("b"))
    url = f"redis:?stream={name}&key={a_key().prefix}"
    left = a_source(url, process="dead").read()
    add(stream, an_email("c"))
    monkeypatch.setattr(redis_streams, "CLAIM_AFTER", 0.0)

    again = a_source(url, process="heir").read()

    assert [record.position for record in again] == [record.position for record in left]


def test_entries_that_are_kept_go_to_nobody_else(stream, monkeypatch):
    name, redis = stream
    add(stream, an_email("a"))
    url = f"redis:?stream={name}&key={a_key().prefix}"
    waiting = a_source(url, process="waiting")
    records = waiting.read()
    redis.xclaim(name, "mercury", "waiting", 0, [records[0].handle[0]], idle=60_000, justid=True)

    waiting.keep(records)

    monkeypatch.setattr("mails.submission_streams.sources.base.READ_SECONDS", 0.01)
    assert a_source(url, process="other").read() == []


def test_a_redis_stream_that_was_deleted_is_begun_again(stream):
    name, redis = stream
    source = a_source(f"redis:?stream={name}&key=abc")
    source.read()
    redis.delete(name)
    with pytest.raises(SourceUnavailable, match="NOGROUP"):
        source.read()
    source.close()
    add(stream, an_email("a"))

    assert len(a_source(f"redis:?stream={name}&key=abc").read()) == 1


def test_large_entries_make_the_next_read_smaller(stream):
    name, _ = stream
    add(stream, *(b"x" * 3_000_000 for _ in range(10)))
    source = a_source(f"redis:?stream={name}&key=abc")
    first = source.read()
    source.acknowledge(first)
    add(stream, *(b"x" * 3_000_000 for _ in range(4)))

    assert (len(first), len(source.read())) == (10, 2)


# Kafka


def produce(brokers: str, topic: str, *values: object, partition: int = 0, **headers: str) -> None:
    producer = Producer({"bootstrap.servers": brokers})
    for value in encode(*values):
        producer.produce(topic, value, partition=partition, headers=dict(headers))
    assert producer.flush(20) == 0


def read_topic(brokers: str, topic: str, count: int) -> Sequence[Any]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(4)])
        found = consumer.consume(count, timeout=20)
        assert len(found) == count
        return found
    finally:
        consumer.close()


@pytest.fixture
def topic(brokers) -> str:
    return f"t-{uuid.uuid4().hex}"


def assign(source: Any, topic: str, *partitions: int) -> Any:
    """Give partitions to the source without a group, which takes seconds to form."""
    source._consumer.unsubscribe()
    source._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    return source


def test_kafka_records_are_emails_or_dead_letters_once_although_a_reader_dies(brokers, topic, monkeypatch):
    produce(brokers, topic, an_email("a"), b"{", an_email("a"), **{"Idempotency-Key": "17"})
    produce(brokers, topic, an_email("b"), partition=1)
    url = f"kafka://{brokers}/{topic}?group={topic}&key={a_key().prefix}"
    dying = a_reader(url)
    dying._source = assign(a_source(url), topic, 0, 1)
    with monkeypatch.context() as patched:
        patched.setattr("mails.submission_streams.sources.kafka.KafkaSource.acknowledge", lambda self, records: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_until(dying, 4)
    dying.close()
    reader = a_reader(url)
    run_until(reader, 4)
    source: Any = reader._source
    lag = source.measure_lag()
    produce(brokers, topic, an_email("c"))
    later = source.measure_lag()
    reader.close()

    assert subjects() == ["a", "b"]
    assert (lag.records, later.records) == (0, 1)
    letter = read_topic(brokers, f"{topic}.rejected", 1)[0]
    assert letter.value() == b"{"
    headers = dict(letter.headers())
    assert headers["Idempotency-Key"] == b"17"
    assert json.loads(headers["mercury-problem"])["code"] == "not_json"
    origin = json.loads(headers["mercury-origin"])
    assert (origin["topic"], origin["partition"], origin["offset"]) == (topic, 0, 1)


def test_kafka_records_of_a_partition_that_was_lost_are_not_committed(brokers, topic):
    produce(brokers, topic, an_email("a"))
    produce(brokers, topic, an_email("b"), partition=1)
    source = assign(a_source(f"kafka://{brokers}/{topic}?group={topic}&key=abc"), topic, 0, 1)
    records = read_until(source, 2)

    assign(source, topic, 1)
    source.acknowledge(records)
    committed = source._consumer.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=10)
    source.close()

    assert [partition.offset for partition in committed] == [OFFSET_INVALID, 1]


def test_kafka_keeps_records_without_reading_more(brokers, topic):
    produce(brokers, topic, an_email("a"))
    source = assign(a_source(f"kafka://{brokers}/{topic}?group={topic}&key=abc"), topic, 0)
    records = read_until(source, 1)
    produce(brokers, topic, an_email("b"))

    source.keep(records)
    [after] = read_until(source, 1)
    source.close()

    assert after.origin["offset"] == 1


def test_kafka_without_a_broker_is_unavailable(monkeypatch):
    monkeypatch.setattr("mails.submission_streams.sources.kafka.TIMEOUT", 0.5)
    source = a_source("kafka://127.0.0.1:1/submissions?key=abc")

    with pytest.raises(SourceUnavailable, match=r"(?i)broker|connect|transport"):
        read_until(source, 1)
    source.close()


# Kinesis


@pytest.fixture
def shards(kinesis) -> str:
    """The name of a new stream of two shards, with another one for its dead letters, and a row."""
    name = f"s-{uuid.uuid4().hex}"
    for stream_name in (name, f"{name}.rejected"):
        kinesis_client(kinesis).create_stream(StreamName=stream_name, ShardCount=2)
    now = timezone.now()
    SubmissionStream.objects.create(name="test", created_at=now, rate_since=now)
    return name


def put(kinesis: str, name: str, *values: object) -> None:
    for number, value in enumerate(encode(*values)):
        kinesis_client(kinesis).put_record(StreamName=name, Data=value, PartitionKey=f"key-{number}")


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Look for shards, and read them, without a rest."""
    monkeypatch.setattr("mails.submission_streams.sources.kinesis.LOOK_EVERY", 0.0)
    monkeypatch.setattr("mails.submission_streams.sources.kinesis.SHARD_EVERY", 0.01)


def test_kinesis_records_are_emails_or_dead_letters_and_the_positions_move(kinesis, shards, at_once):
    put(kinesis, shards, an_email("a"), b"{", an_email("b"), an_email("c", idempotency_key="17"))
    url = f"kinesis://{shards}?region=eu-central-1&endpoint={kinesis}&key={a_key().prefix}"
    reader = a_reader(url)

    run_until(reader, 4)
    reader.close()

    assert subjects() == ["a", "b", "c"]
    [letter] = [json.loads(record["Data"]) for record in read_records(kinesis, f"{shards}.rejected")]
    assert base64.b64decode(letter["data"]["data_base64"]) == b"{"
    assert letter["data"]["problem"]["code"] == "not_json"
    assert letter["data"]["origin"]["stream"] == shards
    assert SubmissionStream.objects.get().lag_seconds == 0
    assert StreamShard.objects.filter(leased_until=None).exclude(position="").exists()
    put(kinesis, shards, an_email("d"))
    run_until(a_reader(url, process="b"), 1)
    assert subjects() == ["a", "b", "c", "d"]


def read_records(endpoint: str, name: str) -> list[dict[str, Any]]:
    client, found = kinesis_client(endpoint), []
    for shard in client.list_shards(StreamName=name)["Shards"]:
        where = client.get_shard_iterator(StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        found += client.get_records(ShardIterator=where["ShardIterator"])["Records"]
    return found


def test_two_processes_share_the_shards_and_a_lost_one_is_left_alone(kinesis, shards, at_once):
    put(kinesis, shards, *(an_email(str(number)) for number in range(8)))
    url = f"kinesis://{shards}?region=eu-central-1&endpoint={kinesis}&key=abc"
    first, second = a_source(url), a_source(url, process="b")
    records = first.read()
    second.read()

    assert set(StreamShard.objects.values_list("leader", flat=True)) == {"a", "b"}
    StreamShard.objects.update(leader="c")
    first.acknowledge(records)
    assert set(StreamShard.objects.values_list("position", flat=True)) == {""}


def test_a_shard_made_from_another_one_waits_until_that_is_read_to_its_end(kinesis, shards, at_once, monkeypatch):
    source: Any = a_source(f"kinesis://{shards}?region=eu-central-1&endpoint={kinesis}&key=abc")
    ends = {"Records": [], "NextShardIterator": None, "MillisBehindLatest": 0}
    answers = {
        "list_shards": {"Shards": [{"ShardId": "new", "ParentShardId": "old"}, {"ShardId": "old"}]},
        "get_shard_iterator": {"ShardIterator": "i"},
        "get_records": ends,
    }
    begun: list[str] = []

    def answer(name: str, **options: str) -> Any:
        if name == "get_shard_iterator":
            begun.append(options["ShardId"])
        return answers[name]

    monkeypatch.setattr(source, "_call", answer)
    monkeypatch.setattr("mails.submission_streams.sources.kinesis.READ_SECONDS", 0.05)
    for _ in range(20):
        source.read()

    assert begun == ["old", "new"]
    assert StreamShard.objects.filter(is_finished=True).count() == 2


def test_kinesis_without_the_stream_is_unavailable(kinesis):
    source = a_source(f"kinesis://missing?region=eu-central-1&endpoint={kinesis}&key=abc")

    with pytest.raises(SourceUnavailable, match="ResourceNotFoundException"):
        source.read()
