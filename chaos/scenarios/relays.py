"""Relays of events are killed, and their broker is away: each event arrives, and those of one email in order."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from chaos.database import query
from chaos.scenario import Run, Scenario
from mercury.tests.instance import wait_until

SINK = "chaos"
STREAM = "mercury:events"
MAILS_PER_KILL = 200
CAUGHT_UP_WITHIN = (
    60.0  # seconds after the last email, or after the broker is back: a lease of 30 s may have to end first
)
Arrived = list[tuple[int, str]]  # the event's id and its email's, in the order of arrival


def kill_relays(run: Run) -> None:
    """Kill everything at random moments while events are published: to a file, or to Redis on the full leg."""
    kills = max(2, run.mails // MAILS_PER_KILL)
    run.testbed.configure(delay_ms=20)
    with _publish_events(run) as first:
        with run.post_mails(rate=run.mails / (kills * 3.0)):
            for number in range(kills):
                run.wait_until_posted((number + 1) * run.mails // (kills + 1))
                time.sleep(random.uniform(0.0, 1.0))
                run.testbed.kill_all()
        run.wait_until_finished()
        run.report("kills", kills)
        _expect_all_events(run, first)


def take_broker_away(run: Run) -> None:
    """Let Redis be silent, then refuse to write until all emails are sent, and then take the events that wait."""
    server = run.testbed.redis
    assert server is not None
    with _publish_events(run) as first:
        with run.post_mails(forgetful=0.0):
            run.wait_until_posted(run.mails // 10)
            server.freeze()
            run.wait_until_posted(run.mails // 2)
            server.thaw()
            server.limit(1)
        run.wait_until_finished()
        run.report("events that waited", read_last_event(run) - read_position(run))
        server.limit(0)
        _expect_all_events(run, first)


@contextmanager
def _publish_events(run: Run) -> Iterator[int]:
    """Restart everything with a stream of events, and without it at the end. Yields the id of the last event before it."""
    testbed = run.testbed
    url = "redis:" if testbed.leg == "full" else f"file://{_get_file(run)}"
    testbed.instance.environment[f"EVENT_SINK_{SINK.upper()}"] = url
    try:
        testbed.restart()
        testbed.wait_for_dispatchers()
        wait_until(lambda: read_position(run) >= 0, 60, testbed.instance.logs.read_text)
        yield read_position(run)
    finally:
        del testbed.instance.environment[f"EVENT_SINK_{SINK.upper()}"]
        testbed.restart()


def _expect_all_events(run: Run, first: int) -> None:
    """Wait until the sink has the last event, and compare all that arrived with the table of events."""
    seconds = run.wait_for(lambda: read_position(run) >= read_last_event(run))
    recorded = {
        number for (number,) in query(run.testbed.database_url, "SELECT id FROM mails_event WHERE id > ?", first)
    }
    arrived = _read_redis(run) if run.testbed.leg == "full" else _read_file(run)
    numbers = {number for number, _ in arrived}
    run.report("events", len(recorded))
    run.report("events that arrived more than once", len(arrived) - len(numbers))
    run.expect_at_most("events that did not arrive", len(recorded - numbers), 0)
    run.expect_at_most("events that arrived and are not on record", len(numbers - recorded), 0)
    run.expect_at_most("emails whose events arrived out of order", len(find_disordered(arrived)), 0)
    run.expect_at_most("all events arrived after", seconds, CAUGHT_UP_WITHIN, "s")


def find_disordered(arrived: Arrived) -> set[str]:
    """Return the emails of which an event arrived for the first time after a later one."""
    latest: dict[str, int] = {}
    seen: set[int] = set()
    disordered = set()
    for number, mail_id in arrived:
        if number not in seen and number < latest.get(mail_id, 0):
            disordered.add(mail_id)
        seen.add(number)
        latest[mail_id] = max(number, latest.get(mail_id, 0))
    return disordered


def _read_file(run: Run) -> Arrived:
    """Return what is in the file. A line that a crash has cut short is none: its events come again."""
    arrived = []
    for line in _get_file(run).read_text().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        arrived.append((int(event["id"]), event["subject"]))
    return arrived


def _read_redis(run: Run) -> Arrived:
    assert run.testbed.redis is not None
    with redis.Redis(port=run.testbed.redis.port) as client:
        entries = client.xrange(STREAM)
    events = [json.loads(fields[b"event"]) for _, fields in entries]
    return [(int(event["id"]), event["subject"]) for event in events]


def _get_file(run: Run) -> Path:
    return Path(run.testbed.instance.environment["MERCURY_DATA"], "events.jsonl")


def read_position(run: Run, sink: str = SINK) -> int:
    """Return the id of the last event that the sink has; -1 before a relay has begun."""
    rows = query(run.testbed.database_url, "SELECT position FROM mails_eventsink WHERE name = ?", sink)
    return int(rows[0][0]) if rows else -1


def read_last_event(run: Run) -> int:
    """Return the id of the newest event; 0 if there is none."""
    return int(query(run.testbed.database_url, "SELECT max(id) FROM mails_event")[0][0] or 0)


SCENARIOS = [
    Scenario(
        "relay-killed",
        "kill -9 of everything at random moments while events are published",
        kill_relays,
        2000,
        100,
        legs=("embedded", "full"),
    ),
    Scenario(
        "relay-broker-away",
        "the broker of events is silent, then refuses to write, then takes what waits",
        take_broker_away,
        15_000,
        100,
    ),
]
