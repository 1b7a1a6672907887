"""Orders for many mails: chosen by ticks or by the list's filter, said first, then done in batches that no crash doubles."""

import datetime as dt
import time

import pytest

from mails.actions import bulk
from mails.maintenance.periodic_thread import Beat
from mails.maintenance.scheduler import Scheduler, run_tasks
from mails.models import BulkAction, Mail
from mails.reporting.search import MailListFilter
from mails.states import Action, HoldReason, Status
from mails.tests.actions.builders import create_bulk_action, create_discarded, create_unknown, process
from mails.tests.builders import IRIS, a_mail, dispatch, event_names, reloaded
from mails.tests.people import browser_of, hermes
from providers.outcomes import FailureClass

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator():
    return browser_of(hermes())


def test_all_that_match_are_processed_oldest_first_and_the_others_are_skipped(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 2)
    mails = [create_discarded() for _ in range(5)]
    possible_duplicate, refused = (
        create_discarded(possible_duplicate=True),
        create_discarded(failure_class=FailureClass.MESSAGE),
    )
    queued = a_mail()

    order = process(create_bulk_action())

    assert (order.done, sum(order.skipped.values()), order.examined) == (5, 2, 7)
    assert order.skipped == {
        "it may have been sent already": 1,
        "will be rejected again: the message is the problem": 1,
    }
    assert {reloaded(mail).status for mail in mails} == {Status.QUEUED}
    assert {reloaded(mail).status for mail in (possible_duplicate, refused)} == {Status.DISCARDED}
    assert event_names(queued).count("REPROCESS") == 0
    assert mails[0].events.last().created_by == "user:hermes"
    assert bulk.describe_progress(order) == "5 queued, 2 skipped."


def test_an_inclusion_is_processed_too():
    create_discarded(possible_duplicate=True)
    create_discarded(failure_class=FailureClass.MESSAGE)

    assert process(create_bulk_action(included=["uncertain"])).done == 1
    assert process(create_bulk_action(included=["refused"])).done == 1


def test_an_unknown_outcome_is_skipped_even_if_it_is_selected():
    mail = create_discarded(status=Status.HELD, reason_code=HoldReason.UNKNOWN, possible_duplicate=True)

    order = process(create_bulk_action(selected=[mail.pk], included=["uncertain", "refused"]))

    assert (order.done, order.skipped) == (0, {"the outcome is unknown: resolve it first": 1})
    assert reloaded(mail).status == Status.HELD


@pytest.mark.parametrize(
    ("action", "status", "events", "sentence"),
    [
        (Action.SENT, Status.DONE, ["RESOLVED", "DONE"], "2 resolved, 1 skipped."),
        (Action.NOT_SENT, Status.QUEUED, ["RESOLVED"], "2 queued, 1 skipped."),
    ],
)
def test_unknown_outcomes_are_resolved_and_the_others_are_skipped(action, status, events, sentence, olympus):
    mails = [create_unknown(olympus), create_unknown(olympus)]
    held = a_mail()
    Mail.objects.filter(pk=held.pk).update(status=Status.HELD, reason_code=HoldReason.OPERATOR, next_attempt_at=None)

    order = process(create_bulk_action(action))

    assert bulk.describe_progress(order) == sentence
    assert order.skipped == {"on hold": 1}
    assert {reloaded(mail).status for mail in mails} == {status}
    for mail in mails:
        assert event_names(mail)[-len(events) :] == events
        assert mail.events.get(event="RESOLVED").created_by == "user:hermes"
    assert reloaded(held).status == Status.HELD


@pytest.mark.parametrize("action", [Action.SENT, Action.NOT_SENT])
@pytest.mark.parametrize("selected_ids", [False, True])
def test_an_outcome_that_became_unknown_after_the_request_is_not_resolved(action, selected_ids, olympus):
    mail = a_mail(delivery_guarantee="at-most-once")
    order = create_bulk_action(action, [mail.pk] if selected_ids else None)
    olympus.lose_answer()
    dispatch()

    assert process(order).done == 0
    assert reloaded(mail).reason_code == HoldReason.UNKNOWN


def test_email_received_after_the_request_is_excluded():
    create_discarded()
    order = create_bulk_action()
    later = create_discarded()
    BulkAction.objects.update(requested_at=later.created_at - dt.timedelta(seconds=1))
    Mail.objects.filter(pk=later.pk).update(subject="Later")

    assert process(BulkAction.objects.get(pk=order.pk)).done == 0


def test_two_processes_process_no_email_twice(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 1)
    mails = [create_discarded(), create_discarded()]
    as_both_read_it = create_bulk_action()

    bulk._process_batch(as_both_read_it)
    bulk._process_batch(as_both_read_it)

    order = BulkAction.objects.get()
    assert (order.done, order.batches) == (1, 1)
    assert process(order).done == 2
    assert [event_names(mail).count("REPROCESS") for mail in mails] == [1, 1]


def test_a_failed_batch_leaves_no_trace_and_is_repeated(monkeypatch):
    mail, order = create_discarded(), create_bulk_action()
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "Counter", lambda _counts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bulk.run()
    assert (reloaded(mail).status, BulkAction.objects.get().batches) == (Status.DISCARDED, 0)

    bulk.run()

    assert BulkAction.objects.get(pk=order.pk).done == 1


def test_a_bulk_action_is_stopped_between_two_batches(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 1)
    create_discarded()
    create_discarded()
    order = create_bulk_action()
    bulk._process_batch(order)

    assert bulk.stop(order.pk, by="user:iris")
    assert not bulk.run()
    assert not bulk.stop(order.pk, by="user:iris")

    order = BulkAction.objects.get()
    assert (order.done, order.stopped_by) == (1, "user:iris")


def test_the_leader_processes_bulk_actions_without_redis(settings):
    settings.REDIS_URL = ""
    woken = []
    tasks = Scheduler(wake=lambda: woken.append("woken")).tasks
    mail, order = create_discarded(), create_bulk_action()

    for _ in range(2):  # the first creates the task's row
        run_tasks(tasks, Beat(worker="worker", at=time.monotonic()))

    assert BulkAction.objects.get(pk=order.pk).finished_at
    assert reloaded(mail).status == Status.QUEUED
    assert woken


@pytest.mark.parametrize("action", [Action.HOLD, Action.CANCEL])
def test_mails_are_held_released_and_cancelled(action):
    mail, other = a_mail(), a_mail(recipient=IRIS)

    process(create_bulk_action(action, MailListFilter(q="to:hera")))

    stopped = {Action.HOLD: Status.HELD, Action.CANCEL: Status.CANCELLED}[action]
    assert (reloaded(mail).status, reloaded(other).status) == (stopped, Status.QUEUED)
    if action == Action.HOLD:
        assert process(create_bulk_action(Action.RELEASE)).done == 1
        assert reloaded(mail).status == Status.QUEUED
