"""Why an email that is on its way does not leave now: one answer for page, API and command."""

import datetime as dt
import re

import pytest
from django.urls import reverse

from mails import pauses
from mails.message import mime
from mails.models import Mail, Worker
from mails.obstacles import NO_OBSTACLES, SendingConditions, find_obstacles
from mails.queues import QueueName
from mails.states import WORKER_SILENCE, Status
from mails.tests.builders import a_mail, reloaded
from mails.tests.commandline import run
from mails.tests.people import browser_of, hermes
from mails.timeline.entries import list_entries
from mails.timeline.story import has_news
from mails.timeline.summary import summarize
from mercury.lib.database import database_clock
from providers.accounts import registration, registry
from providers.health import breaker_store
from providers.models import Account, Breaker, BreakerMode, BreakerState
from providers.routing.rules import RoutingConstraint

pytestmark = pytest.mark.django_db
NOW = dt.datetime(2026, 11, 24, 10, 0, tzinfo=dt.UTC)


@pytest.fixture
def worker():
    """A worker that is alive and has a free slot."""
    now = database_clock.now()
    return Worker.objects.create(id="one", started_at=now, seen_at=now, queues=["text"], concurrency=4)


def obstacles(mail):
    return [(obstacle.account, obstacle.reason) for obstacle in find_obstacles(mail).accounts]


def test_an_email_under_a_pause_of_all_sending_and_one_of_its_queue_shows_both(olympus):
    mail = a_mail()
    pauses.pause(by="user:hermes")
    pauses.pause(QueueName.TEXT, by="user:hermes")

    found = find_obstacles(mail)
    summary = summarize(mail, NOW, found)

    assert summary.index("Sending is paused since") < summary.index("Queue text is paused since")
    assert " by hermes: nothing is sent until someone resumes it. Queue" in summary
    assert re.match(r"pause-\d+\.pause-\d+$", found.mark)


def test_a_pause_of_another_queue_does_not_stop_it(olympus, worker):
    pauses.pause(QueueName.BULK, by="user:hermes")

    assert find_obstacles(a_mail()) == NO_OBSTACLES


def test_an_email_that_is_not_on_its_way_is_stopped_by_nothing_and_costs_no_query(django_assert_num_queries):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(status=Status.CANCELLED, finished_at=NOW)
    pauses.pause(by="user:hermes")
    ended = reloaded(mail)

    with django_assert_num_queries(0):
        found = find_obstacles(ended)

    assert found == NO_OBSTACLES


def test_with_every_breaker_open_the_accounts_are_named_with_their_times(olympus, hades, worker):
    until = database_clock.now() + dt.timedelta(seconds=27)
    Breaker.objects.update(state=BreakerState.OPEN, open_until=until)
    mail = a_mail()

    found = find_obstacles(mail)

    assert [(obstacle.account, obstacle.reason, obstacle.until) for obstacle in found.accounts] == [
        ("hades", "breaker open", until),
        ("olympus", "breaker open", until),
    ]
    [sentence] = found.sentences
    assert sentence.startswith(
        f"No account can accept this email now: hades (breaker open until {until:%H:%M:%S} UTC), olympus"
    )
    assert sentence.endswith(f"The first is available at {until:%H:%M:%S} UTC.")
    assert "worker" not in summarize(mail, NOW, found)


def forced_open(account):
    breaker_store.force(account.name, BreakerMode.OPEN, by="test")


def disabled(account):
    registration.update(account, enabled=False, by="test")


def without_weight(account):
    registration.update(account, weight=0, by="test")


def without_options(account):
    Account.objects.filter(pk=account.pk).update(source="environment")


@pytest.mark.parametrize(
    ("strike", "reason"),
    [
        (forced_open, "breaker forced open, until someone sets it to automatic"),
        (disabled, "disabled, until someone enables it"),
        (without_weight, "weight 0, until it has a weight"),
        (without_options, "not in this process's environment, until its options are set"),
    ],
)
def test_what_only_an_operator_can_change_is_said_so(olympus, worker, strike, reason):
    strike(olympus.account)
    mail = a_mail()

    assert obstacles(mail) == [("olympus", reason)]
    assert find_obstacles(mail).sentences[0].endswith("It waits until an operator changes that.")


def test_an_account_that_asked_for_a_pause_is_shown_with_its_end(olympus, worker):
    until = database_clock.now() + dt.timedelta(minutes=3)
    Breaker.objects.update(limited_until=until)

    [obstacle] = find_obstacles(a_mail()).accounts

    assert (obstacle.reason, obstacle.until) == ("asked to wait", until)


def test_an_account_whose_rate_is_used_up_is_shown(olympus, worker):
    registration.update(olympus.account, rate=1.0, by="test")
    Breaker.objects.update(next_call_at=database_clock.now() + dt.timedelta(seconds=9))

    assert obstacles(a_mail()) == [("olympus", "rate limit 1/s reached")]


def test_an_account_that_the_email_itself_excludes_is_shown(olympus, hades, worker):
    forced_open(hades)
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(routing_constraint=RoutingConstraint(via="hades").to_blob())

    assert obstacles(reloaded(mail)) == [
        ("hades", "breaker forced open, until someone sets it to automatic"),
        ("olympus", "the email may use hades only"),
    ]


def test_an_email_bound_to_an_account_that_is_gone_says_so(olympus, worker):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(routing_constraint=RoutingConstraint(via="hades").to_blob())

    [sentence] = find_obstacles(reloaded(mail)).sentences

    assert sentence == (
        "No account can accept this email now: hades (no such account, and the email may use no other)."
        " It waits until an operator changes that."
    )


def test_an_account_that_cannot_carry_the_email_is_shown(olympus, worker):
    registration.register("hades", "sendgrid", {"api_key": "SG.key"}, by="test")
    disabled(olympus.account)
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(needs="40MB")

    assert obstacles(reloaded(mail)) == [
        ("hades", "it carries at most 30,000,000 bytes"),
        ("olympus", "disabled, until someone enables it"),
    ]


def test_an_email_that_another_version_stored_is_explained_like_others(olympus, worker):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(needs="pigeons")
    olympus.disable()

    assert obstacles(reloaded(mail)) == [("olympus", "disabled, until someone enables it")]
    assert "Only an email that was sent" in mime.explain_not_copyable(reloaded(mail))
    Mail.objects.filter(pk=mail.pk).update(status=Status.DONE)
    assert "Another version" in mime.explain_not_copyable(reloaded(mail))


def test_without_any_account_that_is_said(settings, worker):
    mail = a_mail()
    Account.objects.all().delete()

    with_none = SendingConditions(now=NOW, workers=[worker]).find_obstacles(mail)

    assert "No account can accept this email now: none (no provider account exists)." in with_none.sentences[0]


def test_default_sandboxes_out_of_use_are_not_named(worker):
    registry.sync()
    olympus = registration.register("olympus", "sandbox", {}, by="test")
    forced_open(olympus)

    assert [name for name, _ in obstacles(a_mail())] == ["olympus"]


def test_where_an_account_is_ready_the_worker_is_why(olympus, hades):
    forced_open(hades)
    mail = a_mail()

    assert find_obstacles(mail).sentences == ["No worker is running for queue text: start one (manage.py worker)."]
    assert list_entries(mail, [], NOW, find_obstacles(mail))[-1].title == "Waiting for a worker"


def test_a_worker_of_another_queue_a_silent_one_and_a_full_one_do_not_count(olympus, worker):
    mail = a_mail()
    assert find_obstacles(mail) == NO_OBSTACLES

    Worker.objects.update(in_flight=4)
    assert find_obstacles(mail).worker.startswith("All 4 slots of the workers are in use")
    Worker.objects.update(in_flight=0, queues=["bulk"])
    assert find_obstacles(mail).worker.startswith("No worker is running for queue text")
    Worker.objects.update(queues=["text"], seen_at=database_clock.now() - 2 * WORKER_SILENCE)
    assert find_obstacles(mail).worker.startswith("No worker is running for queue text")


def test_page_api_and_command_say_the_same(olympus, worker):
    disabled(olympus.account)
    mail = a_mail()
    said = "No account can accept this email now: olympus (disabled, until someone enables it)."

    staff = browser_of(hermes())
    page = staff.get(reverse("admin:mails_mail_change", args=[mail.pk])).text
    api = staff.get(reverse("api-mail-detail", args=[mail.pk]), headers={"Accept": "application/json"}).json()

    assert said in page
    assert said in api["summary"]
    assert api["obstacles"] == [{"account": "olympus", "reason": "disabled, until someone enables it", "until": None}]
    assert said in run("mail", str(mail.pk)).out


def test_a_live_page_gets_news_when_another_thing_keeps_it(olympus, worker):
    mail = a_mail()
    before = find_obstacles(mail).mark
    disabled(olympus.account)

    assert before == ""
    assert has_news(mail, after=10**9, status=mail.status, obstacles=before)
    assert not has_news(mail, after=10**9, status=mail.status, obstacles=find_obstacles(mail).mark)
