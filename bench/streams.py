"""Rate of the relays: `python bench/streams.py [--mails N]`.

A PostgreSQL database with the events of N emails, seven each, which a relay publishes to each kind of sink: a file, a Redis
stream, a topic of librdkafka's mock cluster, a stream of moto's Kinesis. Prints events a second and the CPU of the relay.
The mock servers of Kafka and Kinesis run in Python's or librdkafka's threads and are slower than the real ones: their
figures are lower bounds. Also measured: what an insert of emails costs with and without a relay that follows.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import fill
import instance

KINESIS_SHARE = 50  # Kinesis gets this fraction: moto takes about 2 ms per record


@contextmanager
def kafka_brokers() -> Iterator[str]:
    """Give the address of a mock cluster."""
    from confluent_kafka import Producer

    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 2})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    cluster.flush(1)


@contextmanager
def kinesis_endpoint() -> Iterator[str]:
    """Give the address of moto's server, with a stream of four shards."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
    boto3.client("kinesis", endpoint_url=f"http://{host}:{port}", **keys).create_stream(
        StreamName="events", ShardCount=4
    )
    yield f"http://{host}:{port}"
    server.stop()


def publish(url: str, share: int) -> tuple[int, float, float]:
    """Publish all events, or the newest `1/share` of them, to this sink: events, seconds, seconds of CPU."""
    from django.utils import timezone

    from mails.events.relay import Relay
    from mails.events.sinks.config import parse_sink
    from mails.models import Event, EventSink

    config = parse_sink("EVENT_SINK_BENCH", url)
    last, first = Event.objects.order_by("-id").values_list("id", flat=True)[0], Event.objects.order_by("id")[0].pk
    position = last - (last - first + 1) // share
    EventSink.objects.all().delete()
    EventSink.objects.create(name=config.name, position=position, created_at=timezone.now())
    relay = Relay(config, process="bench")
    began, cpu = time.monotonic(), time.process_time()
    total = 0
    while EventSink.objects.get().position < last:
        total += relay.run_pass().events
    return total, time.monotonic() - began, time.process_time() - cpu


def main() -> None:
    """Measure each sink."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=20_000, help="Number of emails, with seven events each.")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails)
    instance.say_what("Relays", options.mails)
    with (
        instance.build("full") as built,
        tempfile.TemporaryDirectory() as folder,
        kafka_brokers() as brokers,
        kinesis_endpoint() as endpoint,
    ):
        built.environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        built.run(fill.history, options.mails)
        built.run(fill.vacuum)
        redis = urlsplit(built.environment["REDIS_URL"])
        sinks = {
            "file": (f"file://{Path(folder)}/events.jsonl", 1),
            "redis stream": (redis.geturl(), 1),
            "kafka (mock cluster)": (f"kafka://{brokers}/events", 1),
            "kinesis (moto)": (f"kinesis://events?region=eu-central-1&endpoint={endpoint}", KINESIS_SHARE),
        }
        for name, (url, share) in sinks.items():
            events, seconds, cpu = built.run(publish, url, share)
            print(
                f"  {name:21} {events / seconds:7.0f} events/s, {cpu / events * 1e6:5.1f} us of CPU in the relay",
                flush=True,
            )


if __name__ == "__main__":
    main()
