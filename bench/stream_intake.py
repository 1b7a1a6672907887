"""Rate of intake from a stream: `python bench/stream_intake.py [--mails N]`.

PostgreSQL and Redis. By turns: single posts with idempotency keys to one web process, and one worker with the role intake that
accepts the same emails from a Redis stream, and from a topic of librdkafka's mock cluster. One process accepts in each turn.
"""

import argparse
import json
import time
from contextlib import ExitStack

import instance
import intake
from instance import CONTENT
from streams import kafka_brokers

STREAM = "mercury:bench"
TOPIC = "submissions"
KEPT = 4000  # emails; Kafka's mock cluster keeps some 5 MB of a partition
POSTED = 5  # single posts are so many times fewer
KAFKA_AT_MOST = 6000  # the mock cluster keeps 5 MB of each of its four partitions


def build_email(number: int) -> bytes:
    """Return an email with an id of its own."""
    return json.dumps(
        {
            "sender": "zeus@olimpus.com",
            "recipient": f"hera{number}@olimpus.com",
            "subject": "News",
            "content": CONTENT,
            "idempotency_key": f"{time.monotonic_ns()}-{number}",
        }
    ).encode()


def write_redis(url: str, mails: int) -> None:
    """Write emails into the Redis stream."""
    import redis

    with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipeline:
        for number in range(mails):
            pipeline.xadd(STREAM, {"mail": build_email(number)})
            if number % 1000 == 999:
                pipeline.execute()
        pipeline.execute()


def write_kafka(brokers: str, mails: int) -> None:
    """Write emails into the topic."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": brokers, "queue.buffering.max.messages": mails + 1})
    for number in range(mails):
        producer.produce(TOPIC, build_email(number))
        producer.poll(0)
    producer.flush()


def read_stream(url: str, mails: int) -> tuple[float, float]:
    """Accept this many emails from the stream; return the seconds and the CPU seconds from the first record on."""
    from mails.submission_streams.config import parse_stream
    from mails.submission_streams.reader import StreamReader

    reader = StreamReader(parse_stream("SUBMISSION_STREAM_BENCH", url), process="bench")
    first = 0
    while not first:
        first = reader.run_pass().records
    accepted, began, cpu = first, time.monotonic(), time.process_time()
    while accepted < mails:
        accepted += reader.run_pass().records
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    reader.close()
    return seconds / (accepted - first), used / (accepted - first)


def measure(mails: int) -> None:
    """Print the figures."""
    with instance.build("full") as built, kafka_brokers() as brokers, ExitStack() as stack:
        key = built.run(instance.make_key)
        prefix = key.split("_")[1]
        redis_url = built.environment["REDIS_URL"]
        write_redis(redis_url, mails)
        write_kafka(brokers, min(mails, KAFKA_AT_MOST))
        rates = {}
        for name, url, count in (
            ("Redis stream", f"{redis_url}?stream={STREAM}&key={prefix}", mails),
            ("Kafka (mock cluster)", f"kafka://{brokers}/{TOPIC}?key={prefix}", min(mails, KAFKA_AT_MOST)),
        ):
            each, cpu = built.run(read_stream, url, count)
            rates[name] = 1 / each
            print(f"  {name:22} {1 / each:7.0f} emails/s, {cpu * 1e3:.3f} ms of CPU in the reader", flush=True)
        port, _ = stack.enter_context(instance.serving(built, processes=1))
        intake.post(port, key, 100, idempotent=True, path=intake.MAILS)
        began = time.monotonic()
        intake.post(port, key, mails // POSTED, idempotent=True, path=intake.MAILS)
        single = mails // POSTED / (time.monotonic() - began)
        times = ", ".join(f"{name} {rate / single:.1f} x" for name, rate in rates.items())
        print(f"  {'single posts':22} {single:7.0f} emails/s; {times}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=3000, help="Emails in each stream.")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails, most=KEPT)
    instance.say_what("Intake from a stream", options.mails)
    measure(options.mails)


if __name__ == "__main__":
    main()
