"""`manage.py stats`, as an operator reads it and as a program does."""

import pytest

from mails.tests.builders import a_mail, dispatch
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def some_sent(olympus):
    for number in range(3):
        a_mail(subject=f"mail {number}")
    dispatch()


def test_it_begins_with_the_summary_and_the_remedy(olympus):
    lines = run("stats").out.splitlines()

    assert lines[0] == "No worker is running: nothing is sent."
    assert "manage.py worker" in lines[1]


def test_it_shows_queues_providers_and_applications(some_sent):
    out = run("stats").out

    assert all(word in out for word in ("Queue", "text", "Account", "olympus (fastest)", "Users and CLI"))


@pytest.mark.parametrize(
    ("by", "table"), [("queue", "queues"), ("provider", "providers"), ("application", "applications")]
)
def test_one_table_may_be_asked_for(some_sent, by, table):
    document = run("stats", "--by", by, "--json").document

    assert {"queues", "providers", "applications"} & document.keys() == {table}
    assert document[table][0]["sent"] == 3


def test_json_has_the_situation_and_the_period(some_sent):
    document = run("stats", "--since", "2h", "--json").document

    assert document["per"] == "minute"
    assert document["now"]["queues"][0]["due"] == 0
    assert document["alerts"][0]["code"] == "no_worker"


def test_what_waits_is_shown_with_its_queue(olympus):
    a_mail()

    [line] = [line for line in run("stats", "--by", "queue").out.splitlines() if line.startswith("text")]

    assert line.split()[1] == "1"


def test_a_time_to_come_is_wrong_use():
    assert run("stats", "--since", "2999-01-01").code == 2
