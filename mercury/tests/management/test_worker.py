"""`manage.py worker`, from start to end. For what it does in between, see test_drain.py, test_jobs.py and test_poll.py."""

import pytest

from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_burst_sends_what_is_due_and_tells_a_program_how_much(olympus):
    mail = a_mail()

    ran = run("worker", "text", "--burst", "--json")

    assert (ran.code, ran.document) == (0, {"queues": ["text"], "sent": 1})
    assert reloaded(mail).status == Status.DONE


@pytest.mark.parametrize(
    ("words", "says"),
    [(["post"], "Unknown queue: post. Queues: text"), (["--concurrency", "0"], "not a whole number from 1")],
)
def test_what_it_cannot_serve_is_wrong_use(words, says):
    ran = run("worker", *words)

    assert ran.code != 0
    assert says in ran.error
