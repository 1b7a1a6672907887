"""A change of an account holds from its commit on: an account chosen before is chosen again."""

import threading
from functools import partial

import pytest
from django.db import connection, transaction

from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.steps.transitions import Result
from mails.lifecycle import writer
from mails.models import Attempt, Mail
from mails.states import Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from providers.accounts import registration
from providers.health import breaker_store
from providers.models import Account, BreakerMode
from providers.outcomes import FailureClass, Refused
from providers.tests.support.builders import sandbox_account

pytestmark = pytest.mark.django_db(transaction=True)

DOWN = Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="later", status_code=503)


def elsewhere(change):
    """Make the change over another connection and commit it. SQLite's one writer is this one."""
    if connection.vendor != "postgresql":
        change()
        return

    def work():
        change()
        connection.close()

    other = threading.Thread(target=work)
    other.start()
    other.join(10)
    assert not other.is_alive()


def before_the_commit(monkeypatch, name, change):
    """Make the change when a worker has chosen, and has not recorded its choice yet: once."""
    record, changes = getattr(writer, name), [change]

    def in_between(steps):
        if changes:
            elsewhere(changes.pop())
        return record(steps)

    monkeypatch.setattr(writer, name, in_between)


def disable(account):
    registration.update(account.account, enabled=False, by="hermes")


def remove(account):
    registration.remove(Account.objects.get(name=account.name))


def force_open(account):
    breaker_store.force(account.name, BreakerMode.OPEN, by="hermes")


def disable_by_hand(account):
    Account.objects.filter(name=account.name).update(enabled=False)


@pytest.mark.parametrize("change", [disable, remove, force_open, disable_by_hand])
def test_an_account_serves_nobody_once_its_change_is_committed(change, olympus, hades, monkeypatch):
    disable(hades)
    mail = a_mail()
    before_the_commit(monkeypatch, "record", partial(change, olympus))
    runner = Dispatcher(["text"], concurrency=8)

    first = runner.claimer.claim(8)

    assert (first.calls, first.more, first.look_again < 1) == ([], False, True)
    assert (reloaded(mail).status, event_names(mail)[-1]) == (Status.QUEUED, "ENQUEUE")
    hades.enable()
    [call] = runner.claimer.claim(8).calls
    assert call.account.name == "hades"
    assert set(Attempt.objects.values_list("account", flat=True)) == {"hades"}


def test_new_options_count_at_once(olympus, monkeypatch):
    a_mail()
    before_the_commit(monkeypatch, "record", lambda: registration.update(olympus.account, weight=7, by="hermes"))
    runner = Dispatcher(["text"], concurrency=8)

    assert runner.claimer.claim(8).calls == []

    [call] = runner.claimer.claim(8).calls
    assert call.account.weight == 7


def test_sandboxes_leave_service_with_the_first_account_of_ones_own(monkeypatch):
    mail = a_mail()
    before_the_commit(monkeypatch, "record", lambda: sandbox_account("olympus"))
    runner = Dispatcher(["text"], concurrency=8)

    assert runner.claimer.claim(8).calls == []

    [call] = runner.claimer.claim(8).calls
    assert call.account.name == "olympus"
    assert [attempt.account for attempt in mail.attempts.all()] == ["olympus"]


def test_a_refused_mail_is_not_handed_on_to_an_account_that_was_disabled_during_the_call(olympus, hades, monkeypatch):
    runner = Dispatcher(["text"], concurrency=8)
    disable(hades)
    mail = a_mail()
    [call] = runner.claimer.claim(8).calls
    hades.enable()
    runner.pool.undo([])
    before_the_commit(monkeypatch, "record_each", partial(disable, hades))

    assert runner.recorder.record([Result(call=call, outcome=DOWN, latency=0.1)]).calls == []

    assert reloaded(mail).status == Status.QUEUED
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]
    assert [attempt.account for attempt in mail.attempts.all()] == ["olympus"]


def test_many_changes_in_a_row_hold_no_mail_as_poison(olympus, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=8)
    for weight in range(2, 6):
        with monkeypatch.context() as patched:
            before_the_commit(
                patched, "record", partial(registration.update, olympus.account, weight=weight, by="hermes")
            )
            assert runner.claimer.claim(8).calls == []

    assert reloaded(mail).status == Status.QUEUED
    assert dispatch() == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_a_change_waits_for_hand_overs_that_are_being_committed(olympus, monkeypatch):
    a_mail()
    order = []
    record = writer.record

    def recorded_but_not_committed(steps):
        won = record(steps)
        disabling.start()
        disabling.join(0.3)
        order.append(("disabled during the call", not disabling.is_alive()))
        return won

    def work():
        disable(olympus)
        order.append("disabled")
        connection.close()

    disabling = threading.Thread(target=work)
    monkeypatch.setattr(writer, "record", recorded_but_not_committed)

    assert len(Dispatcher(["text"], concurrency=8).claimer.claim(8).calls) == 1

    disabling.join(10)
    assert order == [("disabled during the call", False), "disabled"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
def test_a_row_that_somebody_has_locked_keeps_only_its_own_account_from_serving(olympus, hades):
    for number in range(4):
        a_mail(subject=f"mail {number}")
    locked, done = threading.Event(), threading.Event()

    def work():
        with transaction.atomic():
            Account.objects.select_for_update().get(name="olympus")
            locked.set()
            done.wait(10)
        connection.close()

    holding = threading.Thread(target=work)
    holding.start()
    locked.wait(10)
    runner = Dispatcher(["text"], concurrency=16)
    for _ in range(12):
        runner.claimer.claim(16)
    assert set(Attempt.objects.values_list("account", flat=True)) == {"hades"}
    done.set()
    holding.join(10)
    assert not Mail.objects.filter(status=Status.HELD).exists()
