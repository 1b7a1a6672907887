"""Fixtures of brokers that speak the real protocols: Redis, librdkafka's mock cluster, moto's Kinesis."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from confluent_kafka import Producer
from moto.kinesis.models import kinesis_backends
from moto.server import ThreadedMotoServer
from redis import Redis


@pytest.fixture
def stream(settings) -> Iterator[tuple[str, Redis]]:
    """A stream of its own, and a connection."""
    if not settings.REDIS_URL:
        pytest.skip("this leg has no Redis")
    name = f"mercury:test:{uuid.uuid4().hex}"
    with Redis.from_url(settings.REDIS_URL) as redis:
        yield name, redis
        redis.delete(name)


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """The address of librdkafka's own mock cluster, which speaks Kafka's protocol."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 2})
    metadata = cluster.list_topics(timeout=10)
    yield ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())
    cluster.flush(1)


@pytest.fixture(scope="module")
def kinesis() -> Iterator[str]:
    """The address of moto's server, with a stream `events` of two shards."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    variables = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-central-1"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        kinesis_client(f"http://{host}:{port}").create_stream(StreamName="events", ShardCount=2)
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        kinesis_backends.reset()  # moto keeps streams in memory, beyond the server
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def kinesis_client(endpoint: str) -> Any:
    return boto3.client("kinesis", region_name="eu-central-1", endpoint_url=endpoint)
