import pytest
from django.utils import timezone

from mails import pauses
from mails.models import Mail, Worker
from mails.queues import QueueName
from mails.states import Status
from mails.tests.commandline import run
from mercury.lib.commands import ExitCode
from mercury.management.commands import demo
from providers.accounts import registration
from providers.models import Account, FailureMode

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def embedded(settings):
    settings.REDIS_URL = ""
    settings.MERCURY_EMBEDDED = True


def test_one_account_fails_and_all_mails_arrive_by_the_other():
    document = run("demo", "--failover", "--mails", "12", "--json").document

    assert (document["mails"], document["sent"]) == (12, 12)
    healthy, failing = document["accounts"]
    assert (healthy["accepted"], healthy["refused"], failing["accepted"]) == (12, 0, 0)
    assert failing["refused"] > 0


def test_the_story_has_both_accounts_and_one_timeline():
    story = run("demo", "--failover", "--mails", "8").out

    for words in (
        "sandbox-a now answers 503",
        "8 of 8 emails sent",
        "sandbox-b",
        "READY TO SEND",
        "sandbox-a has recovered",
    ):
        assert words in story


@pytest.mark.parametrize(
    ("base", "place"),
    [("", "/admin/"), ("https://mail.olimpus.com", "https://mail.olimpus.com/admin/")],
)
def test_it_ends_with_where_to_look_and_guesses_no_host(settings, base, place):
    settings.MERCURY_BASE_URL = base

    story = run("demo", "--mails", "2").out

    assert " ".join(story.split()).endswith(f"Overview: {place}")


def test_afterwards_the_accounts_are_as_they_were():
    run("demo", "--failover", "--mails", "8")

    assert not FailureMode.objects.exists()
    assert {account.breaker.state for account in Account.objects.all()} == {"closed"}


def test_without_failover_both_take_their_share():
    assert run("demo", "--mails", "4", "--json").document["sent"] == 4


def test_it_refuses_where_mails_would_really_go_out():
    registration.register("olympus", "smtp", {"host": "smtp.example.com"}, by="test")

    ran = run("demo", "--failover")

    assert ran.code == 1
    assert "olympus" in ran.error
    assert not Mail.objects.exists()


def test_a_dry_run_sends_nothing():
    assert "Nothing is delivered" in run("demo", "--dry-run").out
    assert not Mail.objects.filter(status=Status.QUEUED).exists()


def test_mails_of_a_paused_queue_are_open_for_its_pause(monkeypatch):
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    pauses.pause(QueueName.TEXT, by="zeus", note="wrong template")
    pauses.pause(QueueName.HTML, by="zeus")

    ran = run("demo", "--mails", "2")

    assert ran.code == ExitCode.TIMED_OUT
    assert "2 emails are still pending." in ran.out
    assert "Queue text is paused since" in ran.out
    assert "QueueName html" not in ran.out
    assert "worker is running" not in ran.out


def test_mails_that_nobody_sends_are_open_for_that(monkeypatch, settings):
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    settings.MERCURY_EMBEDDED = False

    assert "No worker is running" in run("demo", "--mails", "1").out


def test_mails_that_wait_while_somebody_sends_are_open_for_a_cause_of_their_own(monkeypatch, settings):
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    settings.MERCURY_EMBEDDED = False
    now = timezone.now()
    Worker.objects.create(id="hermes", seen_at=now, started_at=now, queues=["text"], concurrency=1)

    ran = run("demo", "--mails", "1")

    assert f"manage.py mail {Mail.objects.get().pk}" in ran.out
