import pytest

from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_is_due_is_sent(olympus):
    mails = [a_mail(subject=f"mail {number}") for number in range(3)]

    ran = run("dispatch", "--once", "--json")

    assert ran.document["sent"] == 3
    assert ran.document["due"] == 0
    assert {reloaded(mail).status for mail in mails} == {Status.DONE}


def test_other_queues_are_left_alone(olympus):
    mail = a_mail()

    ran = run("dispatch", "--once", "--queue", "bulk", "--concurrency", "4")

    assert "0 sent" in ran.out
    assert reloaded(mail).status == Status.QUEUED


def test_a_dry_run_counts_and_sends_nothing(olympus):
    mail = a_mail()

    assert run("dispatch", "--dry-run").out.startswith("1 email due in")
    assert reloaded(mail).status == Status.QUEUED
