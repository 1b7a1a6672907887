"""`manage.py worker`, from start to end. The tests of the dispatcher and of the jobs cover what happens in between."""

import pytest
from structlog.testing import capture_logs

from mails.dispatch.dispatcher import Progress
from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mails.tests.commandline import run
from mercury.management.commands import worker

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_burst_sends_what_is_due_and_prints_the_number_as_json(olympus):
    mail = a_mail()

    ran = run("worker", "text", "--burst", "--json")

    assert (ran.code, ran.document) == (0, {"queues": ["text"], "sent": 1})
    assert reloaded(mail).status == Status.DONE


@pytest.mark.parametrize(
    ("words", "says"),
    [(["post"], "Unknown queue: post. Queues: text"), (["--concurrency", "0"], "not a whole number from 1")],
)
def test_an_unknown_queue_or_concurrency_is_a_usage_error(words, says):
    ran = run("worker", *words)

    assert ran.code != 0
    assert says in ran.error


def test_the_line_of_a_minute_names_the_queues_and_the_state_of_redis(settings):
    settings.REDIS_URL = ""

    with capture_logs() as lines:
        worker._log_minute(["text", "bulk"], Progress(in_flight=2, closed=9, done=7))

    assert lines == [
        {"event": "worker_minute", "log_level": "info", "queues": "text bulk", "redis": "not used",
         "in_flight": 2, "closed": 9, "done": 7}
    ]  # fmt: skip
