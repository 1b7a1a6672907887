"""Quotas of accounts in the dispatcher: exact, given back where nothing was sent, and what a provider says of its own."""

import asyncio
import datetime as dt

import pytest
from django.db import connection

from mails.dispatch.dispatcher import Dispatcher
from mails.models import Attempt, Event, Mail
from mails.states import AttemptState, EventName, Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.accounts import registration
from providers.health import breaker_store
from providers.models import Account, Breaker, BreakerChange, BreakerState
from providers.outcomes import FailureClass
from providers.tests.support.small_smtp_server import SmallSmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


def set_quota(account, **quota):
    registration.update(Account.objects.get(name=account), quota=quota, by="test")


def write(number):
    return [a_mail(subject=f"mail {index}") for index in range(number)]


def count_by_account():
    found = {}
    for name in Mail.objects.filter(status=Status.DONE).values_list("provider", flat=True):
        found[name] = found.get(name, 0) + 1
    return found


def breaker(account):
    return Breaker.objects.get(account__name=account)


def test_an_account_sends_no_more_than_its_daily_quota(olympus):
    set_quota("olympus", daily_quota=5)
    write(8)

    assert dispatch() == 5
    assert dispatch() == 0

    assert (breaker("olympus").quota_day_used, breaker("olympus").quota_month_used) == (5, 5)
    assert len(olympus.inbox()) == 5


def test_two_dispatchers_share_one_quota(olympus):
    set_quota("olympus", daily_quota=7)
    write(20)
    first, second = Dispatcher(["text"], concurrency=4), Dispatcher(["text"], concurrency=4)

    calls = [len(dispatcher.claimer.claim(4).calls) for dispatcher in (first, second, first, second)]

    assert sum(calls) == 7
    assert breaker("olympus").quota_day_used == 7


def test_the_rest_waits_untouched_and_without_an_event(olympus):
    set_quota("olympus", daily_quota=1)
    write(6)
    assert dispatch() == 1
    waiting = Mail.objects.exclude(status=Status.DONE)
    before = list(waiting.order_by("pk").values())
    events = Event.objects.count()

    assert dispatch() == 0

    assert list(waiting.order_by("pk").values()) == before
    assert Event.objects.count() == events
    assert breaker("olympus").quota_day_used == 1


def test_the_rest_goes_to_an_account_of_the_next_priority(olympus, hades):
    set_quota("olympus", daily_quota=3)
    registration.update(hades.account, priority=2, by="test")
    write(8)

    assert dispatch() == 8

    assert count_by_account() == {"olympus": 3, "hades": 5}
    ready = Event.objects.filter(event=EventName.READY_TO_SEND).order_by("id").last()
    assert "daily quota 3 reached; next at" in ready.blob


def test_the_quota_is_free_again_on_the_next_day(olympus):
    set_quota("olympus", daily_quota=3)
    write(8)
    assert dispatch() == 3

    Breaker.objects.update(quota_day=database_clock.now().date() - dt.timedelta(days=1))

    assert dispatch() == 3
    assert breaker("olympus").quota_month_used == 6


def test_a_monthly_quota_holds_over_days(olympus):
    set_quota("olympus", monthly_quota=5, quota_spread=False)
    write(4)
    assert dispatch() == 4
    Breaker.objects.update(quota_day=breaker("olympus").quota_month - dt.timedelta(days=1))
    write(4)

    assert dispatch() == 1


def test_what_was_refused_is_given_back(olympus, hades):
    set_quota("olympus", daily_quota=5)
    registration.update(hades.account, priority=2, by="test")
    olympus.refuse(503)
    write(3)

    dispatch()

    assert Attempt.objects.filter(account="olympus", state=AttemptState.REFUSED).exists()
    assert (breaker("olympus").quota_day_used, breaker("olympus").quota_month_used) == (0, 0)


def test_what_may_have_been_sent_is_not_given_back(olympus):
    set_quota("olympus", daily_quota=5)
    olympus.lose_answer()
    a_mail(delivery_guarantee="at-most-once")

    dispatch()

    assert breaker("olympus").quota_day_used == 1


def test_what_another_step_took_away_is_given_back(olympus, monkeypatch):
    set_quota("olympus", daily_quota=5)
    mail, other = write(2)
    claimer = Dispatcher(["text"], concurrency=4).claimer
    plan = claimer._plan_all

    def take_one_away(mails, selection):
        plans = plan(mails, selection)
        return [p if p.step.mail_id != mail.pk else _lost(p) for p in plans]

    def _lost(plan):
        from dataclasses import replace

        return replace(plan, step=replace(plan.step, before=Status.HELD))

    monkeypatch.setattr(claimer, "_plan_all", take_one_away)

    [call] = claimer.claim(4).calls

    assert call.mail.id == other.pk
    assert (breaker("olympus").quota_day_used, breaker("olympus").quota_month_used) == (1, 1)


def test_an_account_without_quotas_costs_no_write(olympus):
    write(3)

    dispatch()

    assert (breaker("olympus").version, breaker("olympus").quota_day_used) == (0, 0)


def test_recipients_are_counted_where_the_provider_counts_them(monkeypatch, settings):
    registration.register("olympus", "sendgrid", {"api_key": "SG.key"}, quota={"daily_quota": 5}, by="test")
    several = a_mail(recipient=[HERA, IRIS])
    claimer = Dispatcher(["text"], concurrency=4).claimer

    [call] = claimer.claim(4).calls

    assert call.mail.id == several.pk
    assert breaker("olympus").quota_day_used == 2


def test_an_email_to_more_recipients_than_are_left_is_postponed_and_others_go(monkeypatch):
    registration.register("olympus", "sendgrid", {"api_key": "SG.key"}, quota={"daily_quota": 2}, by="test")
    many = a_mail(recipient=[HERA, IRIS, "zeus@olimpus.com"])
    one = a_mail()
    claimer = Dispatcher(["text"], concurrency=4).claimer

    result = claimer.claim(4)

    assert [call.mail.id for call in result.calls] == [one.pk]
    postponed = reloaded(many)
    assert postponed.status == Status.WAITING
    midnight = (database_clock.now() + dt.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert abs((postponed.next_attempt_at - midnight).total_seconds()) <= 2
    assert "daily quota 2: " in many.events.order_by("id").last().blob
    assert claimer.claim(4).calls == []


def answer(words, *, quota=None):
    """Dispatch an email through an SMTP server that refuses the message with these words, then once more."""

    async def scenario():
        async with SmallSmtpServer(replies={HERA: words}) as server:
            await asyncio.to_thread(register, server.port, quota or {})
            await Dispatcher(["text"], concurrency=4).run(until_idle=True)
            return server

    return event_loop.run(scenario())


def register(port, quota):
    options = {"host": "127.0.0.1", "port": port, "security": "none"}
    try:
        registration.register("hades", "smtp", options, quota=quota, by="test")
    finally:
        connection.close()  # of a thread that ends unseen


DAILY = "550 5.4.5 Daily user sending limit exceeded."


def test_a_provider_that_says_its_quota_is_used_up_gets_no_call_until_the_next_day(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    mail = a_mail()

    answer(DAILY)

    row, now = breaker("hades"), database_clock.now()
    midnight = (now + dt.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert (row.out_of_quota_until, row.state) == (midnight, BreakerState.CLOSED)
    assert "Daily user sending limit exceeded" in row.out_of_quota_reason
    assert reloaded(mail).failure_class == FailureClass.ACCOUNT
    assert BreakerChange.objects.order_by("-id").first().what.startswith("out of quota until")

    Mail.objects.update(next_attempt_at=now)
    calls = Attempt.objects.count()
    dispatch()
    assert Attempt.objects.count() == calls


def test_a_quota_without_a_time_waits_for_an_operator(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    a_mail()

    answer("550 5.7.1 Not enough credits.")

    row = breaker("hades")
    assert (row.out_of_quota_since is not None, row.out_of_quota_until) == (True, None)

    assert breaker_store.open_account("hades", by="user:zeus", why="credit bought") is True
    assert breaker_store.open_account("hades", by="user:zeus") is False

    row = breaker("hades")
    assert (row.out_of_quota_since, row.out_of_quota_reason) == (None, "")
    assert BreakerChange.objects.order_by("-id").first().what == "opened again, “credit bought”"


def test_the_email_goes_on_to_the_next_account(settings, olympus):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    registration.update(olympus.account, priority=2, by="test")
    mail = a_mail()

    answer(DAILY)

    assert (reloaded(mail).status, reloaded(mail).provider) == (Status.DONE, "olympus")
    assert EventName.FAILURE in event_names(mail)


def test_a_full_mailbox_closes_no_account(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    a_mail()

    answer("552 5.2.2 The mailbox has reached its daily receiving quota.")

    assert breaker("hades").out_of_quota_since is None
