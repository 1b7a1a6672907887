"""Streams refuse a part of what is published, for now or for good: each event arrives, or is refused and on record."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos.database import query
from chaos.scenario import Run, Scenario
from chaos.scenarios.relays import CAUGHT_UP_WITHIN, Arrived, find_disordered, read_last_event, read_position
from mails.tests import kafka_broker, kinesis_server
from mercury.tests.instance import wait_until

KAFKA, KINESIS = SINKS = ("chaoskafka", "chaoskinesis")
POISON = 41  # each event with a multiple of this as its id is refused for good
LARGEST_BATCH = 30_000  # bytes that the topic allows: far fewer than a producer puts into one
INVALID_RECORD, TOO_LARGE, NOT_LEADER = 87, 10, 6
BUSY = 0.2  # share of the records of Kinesis that are refused for now
DISTURBED, LOST = 0.03, 0.03  # shares of the requests that are refused for now, and whose answers are lost
LOGIN = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


def refuse_parts(run: Run) -> None:
    """Publish to Kafka and to Kinesis at once, which refuse parts of what they get, and kill everything once meanwhile."""
    run.testbed.configure(delay_ms=20)
    with (
        kafka_broker.serve_kafka(_judge_batch) as broker,
        kinesis_server.serve_kinesis(_judge_records, loses_answer=lambda: random.random() < LOST) as stream,
        _publish_events(run, broker.address, stream.url) as first,
    ):
        with run.post_mails(rate=100):
            run.wait_until_posted(run.mails // 2)
            run.testbed.kill_all()
        run.wait_until_finished()
        seconds = run.wait_for(lambda: all(read_position(run, sink) >= read_last_event(run) for sink in SINKS))
        run.expect_at_most("all events arrived after", seconds, CAUGHT_UP_WITHIN, "s")
        for sink, arrived in (
            (KAFKA, [(_read_id(record), record.key.decode()) for record in broker.stored]),
            (KINESIS, [(int(str(event["id"])), str(event["subject"])) for event in stream.stored]),
        ):
            _compare(run, sink, arrived, first)


def _judge_batch(size: int, records: Sequence[kafka_broker.Stored]) -> int:
    """Refuse a batch that is too large, or that has a poisonous record, as a whole; and some for now."""
    if size > LARGEST_BATCH:
        return TOO_LARGE
    if any(_read_id(record) % POISON == 0 for record in records):
        return INVALID_RECORD
    drawn = random.random()
    if drawn < DISTURBED:
        return NOT_LEADER
    return kafka_broker.HANG_UP if drawn < DISTURBED + LOST else kafka_broker.ACCEPT


def _judge_records(events: Sequence[kinesis_server.Event]) -> list[str]:
    """Refuse the poisonous records for good, and some others for now."""
    return [
        "RecordRefused"
        if int(str(event["id"])) % POISON == 0
        else random.choice(["ProvisionedThroughputExceededException", "InternalFailure"])
        if random.random() < BUSY
        else kinesis_server.ACCEPT
        for event in events
    ]


@contextmanager
def _publish_events(run: Run, brokers: str, endpoint: str) -> Iterator[int]:
    """Restart everything with both streams, and without them at the end. Yields the id of the last event before them."""
    testbed = run.testbed
    variables = LOGIN | {
        f"EVENT_SINK_{KAFKA.upper()}": f"kafka://{brokers}/events",
        f"EVENT_SINK_{KINESIS.upper()}": f"kinesis://events?region=eu-central-1&endpoint={endpoint}",
    }
    testbed.instance.environment.update(variables)
    try:
        testbed.restart()
        testbed.wait_for_dispatchers()
        wait_until(lambda: all(read_position(run, sink) >= 0 for sink in SINKS), 60, testbed.instance.logs.read_text)
        yield max(read_position(run, sink) for sink in SINKS)
    finally:
        for name in variables:
            del testbed.instance.environment[name]
        testbed.restart()


def _compare(run: Run, sink: str, arrived: Arrived, first: int) -> None:
    """Compare what arrived, and what is on record as refused, with the table of events."""
    url = run.testbed.database_url
    recorded = {number for (number,) in query(url, "SELECT id FROM mails_event WHERE id > ?", first)}
    sql = "SELECT event_id FROM mails_rejectedrecord WHERE sink_id = ? AND event_id > ?"
    refused = {number for (number,) in query(url, sql, sink, first)}
    poison = {number for number in recorded if number % POISON == 0}
    numbers = {number for number, _ in arrived if number > first}
    run.report(f"{sink}: events", len(recorded))
    run.report(f"{sink}: refused for good and on record", len(refused))
    run.expect_at_most(f"{sink}: neither arrived nor on record", len(recorded - numbers - refused), 0)
    run.expect_at_most(f"{sink}: refused, but nothing is wrong with them", len(refused - poison), 0)
    run.expect_at_most(f"{sink}: arrived, and also on record as refused", len(refused & numbers), 0)
    run.expect_at_most(f"{sink}: emails whose events arrived out of order", len(find_disordered(arrived)), 0)


def _read_id(record: kafka_broker.Stored) -> int:
    return int(record.headers["ce_id"])


SCENARIOS = [
    Scenario(
        "relay-refused-in-part",
        "Kafka and Kinesis refuse a part of the events, for now or for good, and everything is killed once",
        refuse_parts,
        2000,
        100,
    )
]
