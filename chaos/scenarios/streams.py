"""Emails that arrive through a stream, while the processes that read it are killed."""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from chaos.clients import Answers, ClientRecord, PlannedMail, build_mail
from chaos.database import query
from chaos.records import format_id
from chaos.scenario import Run, Scenario
from chaos.servers import Redis

STREAM = "mercury:submissions"
AGAIN, POISON = 7, 10  # each so many emails, one is written twice, or a record that is no email follows
WRITTEN_WITHIN = 3.0  # seconds: much faster than it is read between two kills
VARIABLE = "SUBMISSION_STREAM_CHAOS"


class Producer:
    """Writes emails into the stream: each is answered once it is there. Some twice, and poison among them."""

    def __init__(self, url: str, planned_mails: list[PlannedMail], rate: float) -> None:
        self.answers = Answers()
        self.client_records: list[ClientRecord] = []
        self.written = 0
        self._redis = redis.Redis.from_url(url)
        self.planned = planned_mails
        self._pause = 1 / rate
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def poison(self) -> set[str]:
        """Return the ids of the records that are no email."""
        return {f"poison-{number}" for number in range(0, len(self.planned), POISON)}

    @property
    def waiting(self) -> int:
        """Return how many records the stream has: finished ones are deleted."""
        return int(self._redis.xlen(STREAM))

    @property
    def finished(self) -> int:
        """Return how many records Mercury has finished."""
        return self.written - self.waiting

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def join(self) -> None:
        """Wait until all is written."""
        self._thread.join()

    def read_dead_letters(self) -> list[tuple[str, bool]]:
        """Return the id of each dead letter, and whether it says why."""
        letters: Any = self._redis.xrange(f"{STREAM}.rejected")
        return [(fields[b"id"].decode(), bool(json.loads(fields[b"problem"])["errors"])) for _, fields in letters]

    def _run(self) -> None:
        for number, planned in enumerate(self.planned):
            for _ in range(1 + (number % AGAIN == 0)):
                self._write(planned.key, json.dumps(build_mail(planned)))
            if number % POISON == 0:
                unknown = json.dumps({"colour": "red"} | build_mail(planned))
                self._write(f"poison-{number}", unknown if number % (2 * POISON) else '{"sender"')
            time.sleep(self._pause)

    def _write(self, name: str, text: str) -> None:
        self._redis.xadd(STREAM, {"id": name, "mail": text})
        self.written += 1  # afterwards, so that no more seem finished than are


@contextmanager
def _reading(run: Run) -> Iterator[str]:
    """Give the URL of a Redis of its own that Mercury accepts emails from while the block runs."""
    testbed = run.testbed
    with tempfile.TemporaryDirectory() as folder:
        server = Redis(Path(folder))
        prefix = testbed.instance.key.split("_")[1]
        settings = {VARIABLE: f"{server.url}?stream={STREAM}&key={prefix}"}
        before = testbed.web_settings, testbed.worker_settings
        testbed.web_settings = before[0] | settings
        testbed.worker_settings = [worker | settings for worker in before[1]]
        testbed.restart()
        try:
            yield server.url
        finally:
            testbed.web_settings, testbed.worker_settings = before
            testbed.restart()
            server.kill()


def kill_stream_intake(run: Run) -> None:
    """Kill what reads the stream, again and again, each time a moment after it has finished some more."""
    kills = max(3, run.mails // 500)
    with _reading(run) as url:
        run.testbed.configure(delay_ms=10)
        run.testbed.wait_for_dispatchers()
        producer = Producer(
            url, [run.plan_mail(number) for number in range(run.mails)], rate=run.mails / WRITTEN_WITHIN
        )
        run.clients = producer
        producer.start()
        for number in range(kills):
            run.wait_for(lambda wanted=(number + 1) * run.mails // (kills + 1): producer.finished >= wanted)  # type: ignore[misc]
            time.sleep(0.017 * (number % 7))  # into the next group, each time further
            if run.testbed.leg == "full":
                run.testbed.kill_worker(number % 2)
            else:
                run.testbed.kill_web()
        producer.join()
        emptied = run.wait_for(lambda: not producer.waiting)
        finished = run.wait_until_finished()
        producer.client_records = _find_records(run)
        letters, left = producer.read_dead_letters(), producer.waiting
    rejected = {name for name, _ in letters}
    run.report("kills", kills)
    run.report("all records finished after the last one", emptied, "s")
    run.report("all emails finished after that", finished, "s")
    run.report("dead letters that a crash has written twice", len(letters) - len(rejected))
    run.expect_at_most("emails that were rejected, and poison that was not", len(rejected ^ producer.poison), 0)
    run.expect_at_most("dead letters without a reason", sum(not has_reason for _, has_reason in letters), 0)
    run.expect_at_most("records that are left in the stream", left, 0)


def _find_records(run: Run) -> list[ClientRecord]:
    """Return what the stream has taken on, as if it had been answered: with the email that Mercury has, or none."""
    producer = run.clients
    assert isinstance(producer, Producer)
    rows = query(
        run.testbed.database_url, "SELECT subject, id FROM mails_mail WHERE subject LIKE ?", f"{run.subjects}%"
    )
    ids = {subject: format_id(mail_id) for subject, mail_id in rows}
    return [ClientRecord(planned, 202, ids.get(planned.subject, ""), 0, 0, 1) for planned in producer.planned]


SCENARIOS = [
    Scenario(
        "stream-intake",
        "kill -9 of what accepts emails from a stream, with repeated ones and poison among them",
        kill_stream_intake,
        5000,
        100,
        legs=("embedded", "full"),
    ),
]
