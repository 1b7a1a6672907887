"""Shares and rate limits of queues: defaults, changes, errors, and dispatchers that keep to them."""

import pytest
from django.db import IntegrityError, transaction

from mails import queue_settings
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due.queue_limits import QueueLimits, QueueRateChanged
from mails.models import Mail, QueueSettings
from mails.queue_settings import QueueSettingsInvalid
from mails.tests.builders import a_mail
from mails.tests.commandline import run
from mercury.lib import variables
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db


def bulk_mails(number):
    """Store emails that wait in the queue bulk."""
    for _ in range(number):
        Mail.objects.filter(pk=a_mail().pk).update(queue="bulk")


def claim(queues=("text", "bulk"), *, free=64):
    """Return the queues of the emails that one pass claims."""
    return [call.mail.queue for call in Dispatcher(list(queues), concurrency=64).claimer.claim(free).calls]


def test_a_queue_has_the_share_of_the_setting_until_someone_changes_it(settings):
    settings.MERCURY_QUEUE_SHARES = settings.MERCURY_QUEUE_SHARES | {"bulk": 30}
    assert queue_settings.read()["bulk"].share == 30

    queue_settings.change("bulk", share=20, rate=2.5, by="user:hermes")

    bulk = queue_settings.read()["bulk"]
    assert (bulk.share, bulk.rate, bulk.is_share_set, bulk.changed_by) == (20, 2.5, True, "hermes")
    queue_settings.reset(["bulk"], by="user:hermes")
    assert queue_settings.read()["bulk"].share == 30


@pytest.mark.parametrize(
    ("share", "remedy"), [(0, "pause it: manage.py pause --queue bulk"), (101, "100 is all slots")]
)
def test_a_share_that_is_no_percentage_is_refused_with_the_remedy(share, remedy):
    with pytest.raises(QueueSettingsInvalid, match=remedy):
        queue_settings.change("bulk", share=share, rate=None, by="zeus")
    with pytest.raises(IntegrityError), transaction.atomic():
        QueueSettings.objects.create(queue="bulk", share=share)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"text": 100, "bulk": 50}),
        ("none", {"text": 100, "bulk": 50}),
        ("bulk=20", {"text": 100, "bulk": 20}),
        (" bulk = 1 , text=100", {"text": 100, "bulk": 1}),
    ],
)
def test_the_setting_changes_the_shares_that_it_names(text, expected):
    assert variables.parse_shares("text=100", "bulk=50")(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("parcel=10", "'parcel=10' names no queue. Use text, bulk"),
        ("bulk", "'bulk' is no share from 1 to 100"),
        ("bulk=0", "manage.py pause --queue bulk"),
        ("bulk=101", "is no share"),
        ("bulk=-5", "is no share"),
        ("bulk=half", "is no share"),
    ],
)
def test_a_setting_that_cannot_be_read_is_explained(text, problem):
    with pytest.raises(ValueError, match=problem):
        variables.parse_shares("text=100", "bulk=50")(text)


def test_text_is_claimed_at_once_though_older_bulk_waits(olympus):
    bulk_mails(20)
    a_mail()

    assert claim() == ["text", *["bulk"] * 8]


def test_a_dispatcher_of_bulk_alone_takes_all_of_it(olympus):
    bulk_mails(20)

    assert len(claim(["bulk"])) == 20


def test_a_share_applies_to_the_next_pass(olympus):
    bulk_mails(20)
    a_mail()
    queue_settings.change("bulk", share=5, rate=None, by="zeus")

    assert claim() == ["text", *["bulk"] * 3]  # 5 percent of 64 slots


def test_bulk_leaves_a_connection_of_an_account_to_text(olympus, monkeypatch):
    bulk_mails(6)
    monkeypatch.setattr("providers.routing.rules.get_max_connections", lambda config, processes: 4)
    monkeypatch.setattr("providers.routing.capacity.get_max_connections", lambda config, processes: 4)
    dispatcher = Dispatcher(["text", "bulk"], concurrency=64)

    assert len(dispatcher.claimer.claim(64).calls) == 3
    a_mail()
    assert [call.mail.queue for call in dispatcher.claimer.claim(64).calls] == ["text"]


def test_a_rate_limit_is_exact_with_several_dispatchers(olympus):
    bulk_mails(9)
    queue_settings.change("bulk", share=None, rate=4.0, by="zeus")

    assert [len(claim()), len(claim())] == [4, 0]


def test_permits_that_another_dispatcher_used_first_are_not_used_twice():
    queue_settings.change("bulk", share=None, rate=4.0, by="zeus")
    first, second = QueueLimits(["bulk"]), QueueLimits(["bulk"])
    now = database_clock.now()
    assert [limits.read(now)["bulk"].permits for limits in (first, second)] == [4, 4]

    with first.reserve({"bulk": 4}, now):
        pass

    with pytest.raises(QueueRateChanged), second.reserve({"bulk": 4}, now):
        raise AssertionError("not reached")
    assert second.read(now)["bulk"].permits == 0


def test_the_command_sets_one_and_keeps_the_other():
    assert run("queues", "set", "bulk", "--share", "20", "--yes").code == 0
    assert run("queues", "set", "bulk", "--rate", "60/m", "--yes", "--json").document == {
        "queue": "bulk",
        "share": 20,
        "rate": 1.0,
        "changed": True,
    }
    row = run("queues", "--json").lines[4]
    assert (row["queue"], row["share"], row["rate"]) == ("bulk", 20, 1.0)
    run("queues", "set", "bulk", "--share", "default", "--rate", "none", "--yes")
    assert queue_settings.read()["bulk"].rate is None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["parcel", "--share", "5"], "There is no queue 'parcel'. Known: text, html, attachment, large, bulk."),
        (["bulk", "--share", "0"], "To stop it, pause it: manage.py pause --queue bulk."),
        (["bulk", "--share", "101"], "100 is all slots of a worker."),
        (["bulk", "--rate", "fast"], "A rate is a number and a unit, such as 14/s"),
        (["bulk"], "Specify what to change: --share PERCENT, --rate RATE, or both."),
    ],
)
def test_the_command_explains_what_it_refuses(words, error):
    ran = run("queues", "set", *words, "--yes")

    assert ran.code != 0
    assert error in ran.error
    assert not QueueSettings.objects.exists()
