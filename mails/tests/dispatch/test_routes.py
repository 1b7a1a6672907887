"""Capacity per route: what is claimed is what the accounts that an email may use can take."""

import datetime as dt

import pytest
from django.db import connection

from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import allotment, due_routes
from mails.dispatch.due.due_routes import DueRoutes
from mails.models import Event, Mail
from mails.states import CANNOT_CARRY, EventName, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from providers.accounts import registration
from providers.health import breaker_store
from providers.models import Account, Breaker, BreakerMode, BreakerState

pytestmark = pytest.mark.django_db(transaction=True)


def mails_bound_to(name, number, **columns):
    mails = [a_mail(subject=f"for {name} {index}") for index in range(number)]
    ids = [mail.pk for mail in mails]
    Mail.objects.filter(pk__in=ids).update(routing_constraint={"via": name}, **columns)
    return Mail.objects.filter(pk__in=ids)


def rows(mails):
    return list(mails.order_by("pk").values("pk", "status", "attempt_count", "next_attempt_at", "last_event_at"))


def disable(account):
    account.disable()


def open_breaker(account):
    later = database_clock.now() + dt.timedelta(minutes=5)
    Breaker.objects.filter(account__name=account.name).update(state=BreakerState.OPEN, open_until=later)


def use_up_rate(account):
    Account.objects.filter(name=account.name).update(rate=0.01)
    later = database_clock.now() + dt.timedelta(minutes=5)
    Breaker.objects.filter(account__name=account.name).update(next_call_at=later)


def recover(account):
    account.enable()
    Account.objects.filter(name=account.name).update(rate=None)
    Breaker.objects.filter(account__name=account.name).update(
        state=BreakerState.CLOSED, open_until=None, next_call_at=None
    )


def claim_once(**options):
    """One claim of a new dispatcher, and the statements that it ran."""
    dispatcher = Dispatcher(["text"], concurrency=8, **options)
    statements = []

    def listen(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(listen):
        result = dispatcher.claimer.claim(8)
    return result, statements


@pytest.mark.parametrize("strike", [disable, open_breaker])
def test_emails_whose_account_takes_none_are_not_touched_and_keep_nobody_waiting(olympus, hades, strike):
    bound = mails_bound_to("hades", 40)
    strike(hades)
    free = [a_mail(subject=f"free {number}") for number in range(10)]
    before, events = rows(bound), Event.objects.filter(mail_id__in=bound.values("pk")).count()

    assert dispatch() == 10

    assert {reloaded(mail).status for mail in free} == {Status.DONE}
    assert rows(bound) == before
    assert Event.objects.filter(mail_id__in=bound.values("pk")).count() == events


def test_emails_whose_account_has_used_up_its_rate_are_not_touched(olympus, hades):
    bound = mails_bound_to("hades", 40)
    use_up_rate(hades)
    free = a_mail()
    before = rows(bound)

    [call] = claim_once()[0].calls

    assert call.mail.id == free.pk
    assert rows(bound) == before


def test_they_leave_once_their_account_takes_them_again(olympus, hades):
    bound = mails_bound_to("hades", 20)
    hades.disable()
    assert dispatch() == 0

    recover(hades)

    assert dispatch() == 20
    assert set(bound.values_list("provider", flat=True)) == {"hades"}


def test_where_nothing_can_leave_no_email_is_read(olympus, hades):
    mails_bound_to("hades", 3)
    hades.disable()

    result, statements = claim_once()

    assert result.calls == []
    assert not any("FOR UPDATE" in sql or "mails_recipient" in sql for sql in statements)


def test_a_dispatcher_looks_again_when_the_account_of_a_waiting_email_may_take_it(olympus, hades):
    mails_bound_to("hades", 1)
    soon = database_clock.now() + dt.timedelta(seconds=1)
    Breaker.objects.filter(account__name="hades").update(state=BreakerState.OPEN, open_until=soon)

    result, _ = claim_once()

    assert 0.5 < result.look_again <= 1


def test_with_one_route_a_claim_that_follows_asks_no_more_than_it_did(olympus, monkeypatch):
    monkeypatch.setattr(due_routes, "FRESH", 60)
    monkeypatch.setattr("mails.dispatch.accounts.account_pool.FRESH", 60)
    for number in range(20):
        a_mail(subject=f"mail {number}")
    claimer = Dispatcher(["text", "html"], concurrency=8).claimer
    counts = []

    def listen(execute, sql, params, many, context):
        counts[-1] += [sql]
        return execute(sql, params, many, context)

    with connection.execute_wrapper(listen):
        for _ in range(2):
            counts.append([])
            assert len(claimer.claim(4).calls) == 4

    first, second = counts
    assert sum("WITH RECURSIVE starts" in sql for sql in first) == 1
    assert not any("WITH RECURSIVE starts" in sql or "providers_breaker" in sql for sql in second)
    assert sum("WITH due" in sql for sql in second) == 1
    assert second[0].count("UNION ALL") == 1  # one branch, and the quarantined: html has no emails


def test_of_many_routes_each_has_its_turn(olympus, monkeypatch):
    monkeypatch.setattr(allotment, "MOST_BRANCHES", 2)
    monkeypatch.setattr(due_routes, "ROUTES_PER_LOOK", 3)
    monkeypatch.setattr(due_routes, "SECONDS_PER_ROUTE", 0)
    for number in range(12):
        mail = a_mail(subject=f"mail {number}")
        Mail.objects.filter(pk=mail.pk).update(routing_constraint={"excluded": [f"gone-{number}"]})

    assert dispatch() == 12


def test_a_route_that_is_too_long_for_the_index_is_stored_and_claimed(olympus, hades):
    names = [f"a-provider-account-with-a-long-name-{number}" for number in range(200)]
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(routing_constraint={"excluded": [*names, "olympus"]})

    assert dispatch() == 1
    assert reloaded(mail).provider == "hades"


def test_an_email_that_no_account_can_carry_is_discarded_once_with_the_reason():
    registration.register("olympus", "sendgrid", {"api_key": "SG.key"}, by="test")
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(needs="40MB")

    dispatch()

    discarded = reloaded(mail)
    assert (discarded.status, discarded.failure_class, discarded.reason_code) == (
        Status.DISCARDED,
        "message",
        CANNOT_CARRY,
    )
    assert event_names(mail)[-2:] == ["DEQUEUE", "DISCARDED"]
    assert "olympus (it carries at most 30,000,000 bytes)" in mail.events.get(event="DISCARDED").blob


def test_an_email_that_only_a_disabled_account_can_carry_waits_for_it(olympus):
    registration.register("hades", "sendgrid", {"api_key": "SG.key"}, by="test")
    olympus.disable()
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(needs="40MB")

    dispatch()

    assert (reloaded(mail).status, event_names(mail)[-1]) == (Status.QUEUED, "ENQUEUE")


@pytest.mark.parametrize(
    ("failure_classes", "status"), [(["message"], Status.DISCARDED), (["provider"], Status.WAITING)]
)
def test_an_email_that_no_time_helps_is_decided(olympus, hades, failure_classes, status):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(tried=["olympus"], failure_classes=failure_classes)
    hades.disable()

    dispatch()

    assert reloaded(mail).status == status


def test_an_email_that_one_account_refused_waits_for_the_other_without_an_event(olympus, hades):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(tried=["olympus"], failure_classes=["message"])
    open_breaker(hades)

    dispatch()

    assert EventName.POSTPONED not in event_names(mail)
    assert reloaded(mail).status == Status.QUEUED


def test_a_probe_goes_to_an_email_that_may_use_the_account(olympus, hades):
    bound = mails_bound_to("hades", 3)
    past = database_clock.now() - dt.timedelta(seconds=1)
    Breaker.objects.filter(account__name="hades").update(state=BreakerState.OPEN, open_until=past)
    breaker_store.force("olympus", BreakerMode.OPEN, by="test")
    a_mail()

    [call] = claim_once()[0].calls

    assert call.mail.id in bound.values_list("pk", flat=True)


def test_quarantined_emails_of_all_queues_are_claimed_one_at_a_time(olympus):
    for queue in ("text", "html"):
        Mail.objects.filter(pk=a_mail().pk).update(queue=queue, claims=1)

    [call] = Dispatcher(["text", "html"], concurrency=8).claimer.claim(8).calls

    assert call.mail.is_quarantined


def test_a_look_reads_the_routes_once_and_again_when_they_are_exhausted(olympus):
    a_mail()
    routes = DueRoutes(["text"])
    now = database_clock.now()
    assert routes.is_stale

    routes.look(now)

    assert not routes.is_stale
    assert [route.queue for route in routes.list_due(now)] == ["text"]
