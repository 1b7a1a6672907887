"""Whole stories through all rooms, with real processes: embedded, and with PostgreSQL, Redis and workers."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings

from mercury.tests.instance import Instance, create_instance, pick_free_port, wait_until

FULL = bool(settings.REDIS_URL)
TWO_SANDBOXES = {"PROVIDER_OLYMPUS": "sandbox://", "PROVIDER_HADES": "sandbox://"}
only_full = pytest.mark.skipif(not FULL, reason="needs Redis and workers: the full leg runs it")
ORDER = ["NEW", "ACCEPTED", "ENQUEUE", "DEQUEUE", "READY TO SEND", "SEND"]


def redis_of_this_process() -> str:
    """A Redis database that no other test process wakes workers through."""
    number = 13 - int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return urlsplit(settings.REDIS_URL)._replace(path=f"/{number}").geturl()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Iterator[Instance]:
    """The leg under test, with its database and its key; nothing runs yet. To build it takes longer than most stories."""
    with create_instance(
        tmp_path_factory.mktemp("mercury"),
        full=FULL,
        database_url=settings.MERCURY_TEST_DATABASE_URL,
        redis_url=redis_of_this_process() if FULL else "",
        MERCURY_SEND_TIMEOUT="5s",
        MERCURY_LEASE="35s",
        **TWO_SANDBOXES,
    ) as built:
        yield built


@pytest.fixture
def mercury(built) -> Iterator[Instance]:
    """The web process alone, or with PostgreSQL, Redis and two workers, and accounts that behave.

    Processes that a story has left running serve the next one; if it ended or added some, all are started afresh.
    """
    if len(built.processes) != (3 if FULL else 1) or any(process.poll() is not None for process in built.processes):
        built.stop()
        built.processes.clear()
        start_processes(built)
    yield built
    built.manage("sandbox", "clear")


def start_processes(built):
    if FULL:
        redis.Redis.from_url(built.environment["REDIS_URL"]).flushdb()
        built.start_worker()
        built.start_worker()
    built.start_web()


def names(built, answer):
    return [event["event"] for event in built.read_events(answer)]


def test_a_mail_goes_in_goes_out_and_every_step_shows(mercury):
    answer = mercury.post()

    assert answer.status_code == 202
    wait_until(lambda: mercury.is_done(answer), 15, lambda: mercury.read_events(answer))
    assert names(mercury, answer) == [*ORDER, "DONE"]


def test_a_failover_is_recorded_step_by_step(mercury):
    mercury.manage("sandbox", "set", "olympus", "refuse=503", "--for", "5m")
    answers = [mercury.post(subject=f"mail {number}") for number in range(12)]

    wait_until(lambda: all(map(mercury.is_done, answers)), 30)

    stories = [names(mercury, answer) for answer in answers]
    assert [*ORDER, "FAILURE", "RETRY", "READY TO SEND", "SEND", "DONE"] in stories
    assert {mercury.read_mail(answer)["provider"] for answer in answers} == {"hades"}


def test_stopping_leaves_no_outcome_unknown(mercury):
    mercury.manage("sandbox", "set", "olympus", "slow=1", "--for", "5m")
    mercury.manage("sandbox", "set", "hades", "slow=1", "--for", "5m")
    answers = [mercury.post(subject=f"mail {number}") for number in range(10)]
    wait_until(lambda: any("SEND" in names(mercury, answer) for answer in answers), 15)

    *workers, web = mercury.processes
    for process in workers or [web]:
        process.send_signal(signal.SIGTERM)
    for process in workers or [web]:
        assert process.wait(15) == 0

    if not workers:
        mercury.start_web()
    assert not [answer for answer in answers if "UNKNOWN" in names(mercury, answer)]


@only_full
def test_a_killed_worker_is_replaced_and_the_unknown_outcome_is_on_record(mercury):
    mercury.manage("sandbox", "set", "olympus", "hang", "--for", "5m")
    mercury.manage("sandbox", "set", "hades", "hang", "--for", "5m")
    answer = mercury.post()
    wait_until(lambda: "SEND" in names(mercury, answer), 15)

    for worker in mercury.processes[:2]:
        worker.kill()
    mercury.manage("sandbox", "clear")
    mercury.start_worker()

    wait_until(lambda: mercury.is_done(answer), 40, lambda: mercury.read_events(answer))
    story = names(mercury, answer)
    assert story[6:8] == ["UNKNOWN", "RETRY"]
    assert story.count("DONE") == 1


@only_full
def test_a_plain_rqworker_dispatches_too(mercury):
    for worker in mercury.processes[:2]:
        worker.terminate()
        worker.wait(15)
    mercury.start("manage.py", "rqworker", "text")

    answer = mercury.post()

    wait_until(lambda: mercury.is_done(answer), 30, mercury.logs.read_text)


@only_full
def test_without_redis_mails_are_accepted_and_sent(tmp_path):
    port = pick_free_port()
    own_redis = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        with create_instance(
            tmp_path,
            full=True,
            database_url=settings.MERCURY_TEST_DATABASE_URL,
            redis_url=f"redis://127.0.0.1:{port}/0",
            **TWO_SANDBOXES,
        ) as built:
            built.start_worker()
            built.start_web()
            before = built.post()
            wait_until(lambda: built.is_done(before), 15)

            own_redis.send_signal(signal.SIGSTOP)
            silent = [built.post(subject=f"silent {number}") for number in range(5)]
            wait_until(lambda: all(map(built.is_done, silent)), 15)
            own_redis.send_signal(signal.SIGCONT)

            own_redis.kill()
            own_redis.wait()
            gone = [built.post(subject=f"gone {number}") for number in range(5)]
            wait_until(lambda: all(map(built.is_done, gone)), 15)

        assert {answer.status_code for answer in silent + gone} == {202}
        assert max(answer.elapsed.total_seconds() for answer in silent + gone) < 2
    finally:
        own_redis.send_signal(signal.SIGCONT)
        own_redis.kill()
        own_redis.wait()


CANARIES = {"sender": "canary-zeus@olimpus.com", "recipient": "canary-hera@olimpus.com", "subject": "canary subject"}
CANARIES |= {"content": "canary body"}


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_no_log_line_has_content_addresses_or_secrets_and_each_about_a_mail_has_its_id(built, tmp_path, level):
    built.stop()  # its workers would take jobs from the same Redis
    with create_instance(
        tmp_path,
        full=FULL,
        database_url=settings.MERCURY_TEST_DATABASE_URL,
        redis_url=redis_of_this_process() if FULL else "",
        LOG_LEVEL=level,
        PROVIDER_OLYMPUS="sandbox://",
        PROVIDER_HADES=f"sendgrid://:SG.canary-key@sendgrid?api_url=http://127.0.0.1:{pick_free_port()}/v3/",
        PROVIDER_STYX=f"smtp://canary-user:canary-password@127.0.0.1:{pick_free_port()}?security=none",
        MERCURY_PRIVATE_HOSTS_ALLOWED="127.0.0.1",
    ) as logging:
        if FULL:
            logging.start_worker()
        logging.start_web()
        answers = [logging.post(**CANARIES) for _ in range(12)]
        refused = logging.post(**CANARIES | {"sender": "canary-zeus"})
        wait_until(lambda: all(logging.is_done(answer) for answer in answers), 40, logging.logs.read_text)

        text = logging.logs.read_text()
    assert refused.status_code == 400
    assert "canary" not in text
    assert logging.key not in text
    failed = [line for line in logged(text) if line["event"] == "attempt_refused"]
    assert {line["account"] for line in failed} == {"hades", "styx"}
    assert {line["mail"] for line in failed} <= {answer.headers["MailId"] for answer in answers}


def logged(text):
    """The lines of our own, which are JSON; a server's first words are not."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
