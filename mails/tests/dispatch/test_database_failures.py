"""The database fails between two transactions of one pass: what is committed by then goes on, whatever becomes of the rest."""

import itertools

import psycopg2
import pytest
from django.db import OperationalError

from mails.actions import apply
from mails.dispatch.claimer import Claimer
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import claim
from mails.dispatch.steps.transitions import Result
from mails.lifecycle import writer
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Attempt
from mails.states import Action, AttemptState, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from providers.accounts import registration
from providers.outcomes import FailureClass, Refused
from providers.transports.sender import Sender

pytestmark = pytest.mark.django_db(transaction=True)

DOWN = Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="Come back later.", status_code=503)


class LockTimeout(psycopg2.OperationalError):  # type: ignore[misc]
    pgcode = "55P03"


def lock_timeout():
    error = OperationalError("canceling statement due to lock timeout")
    error.__cause__ = LockTimeout()
    raise error


def failing_once(monkeypatch, module, name):
    """Let the next call of that function fail, as under a lock, and those after it work."""
    works = getattr(module, name)

    def fail(*_, **__):
        monkeypatch.setattr(module, name, works)
        lock_timeout()

    monkeypatch.setattr(module, name, fail)


def never_recorded(monkeypatch, mail):
    """Make each step of this email to SENDING fail, for no reason that can be found."""
    record = writer.record
    monkeypatch.setattr(writer, "record", lambda steps: record([step for step in steps if step.mail_id != mail.pk]))


def test_a_claim_that_is_committed_is_carried_out_though_the_search_for_what_was_lost_fails(olympus, monkeypatch):
    good, lost = a_mail(subject="good"), a_mail(subject="lost")
    never_recorded(monkeypatch, lost)
    failing_once(monkeypatch, writer, "is_serving")
    runner = Dispatcher(["text"], concurrency=8)

    [call] = runner.claimer.claim(8).calls

    assert (call.mail.id, reloaded(good).status) == (good.pk, Status.SENDING)
    assert runner.pool._in_flight["olympus"] == 1
    assert reloaded(lost).status == Status.QUEUED


def test_an_account_that_changed_is_looked_at_once_however_many_emails_it_was_chosen_for(olympus, monkeypatch):
    mails = [a_mail(subject=f"mail {number}") for number in range(6)]
    record, asked = writer.record, []

    def record_too_late(steps):
        registration.update(olympus.account, weight=2, by="hermes")
        return record(steps)

    def serving(name, version):
        asked.append(name)
        return False

    monkeypatch.setattr(writer, "record", record_too_late)
    monkeypatch.setattr(writer, "is_serving", serving)

    assert Dispatcher(["text"], concurrency=8).claimer.claim(8).calls == []

    assert asked == ["olympus"]
    assert {reloaded(mail).status for mail in mails} == {Status.QUEUED}


def test_calls_of_a_committed_group_are_made_though_what_was_asked_for_cannot_be_read(olympus, hades, monkeypatch):
    refused, requested = a_mail(subject="refused"), a_mail(subject="requested")
    runner = Dispatcher(["text"], concurrency=8)
    results = [Result(call=call, outcome=DOWN, latency=0.1) for call in runner.claimer.claim(8).calls]
    apply.apply_action(requested.pk, ActionRequest(action=Action.HOLD, by="hermes"))
    failing_once(monkeypatch, claim, "read_pending_actions")

    closed = runner.recorder.record(results)

    assert [call.mail.id for call in closed.calls] == [refused.pk]
    assert [result.call.mail.id for result in closed.unwritten] == [requested.pk]
    assert runner.recorder._late == []
    assert runner.recorder.record(closed.unwritten).unwritten == []
    assert reloaded(requested).status == Status.HELD


def test_a_result_is_kept_while_the_pending_action_changes_at_each_look(olympus, monkeypatch):
    mail = a_mail()
    runner = Dispatcher(["text"], concurrency=8)
    results = [Result(call=call, outcome=DOWN, latency=0.1) for call in runner.claimer.claim(8).calls]
    read = claim.read_pending_actions
    requested = itertools.cycle([Action.CANCEL, Action.HOLD])

    def change_after_reading(attempts):
        pending = read(attempts)
        apply.apply_action(mail.pk, ActionRequest(action=next(requested), by="hermes"))
        return pending

    apply.apply_action(mail.pk, ActionRequest(action=Action.HOLD, by="hermes"))
    with monkeypatch.context() as patched:
        patched.setattr(claim, "read_pending_actions", change_after_reading)
        [unwritten] = runner.recorder.record(results).unwritten

    assert runner.recorder._late == []
    assert reloaded(mail).status == Status.SENDING
    assert runner.recorder.record([unwritten]).unwritten == []
    assert reloaded(mail).status == Status.CANCELLED


def test_a_worker_writes_later_what_the_database_did_not_take_the_first_time(olympus, hades, monkeypatch):
    refused, requested = a_mail(subject="refused"), a_mail(subject="requested")
    send, asked = Sender.send, []

    async def refuse_the_first_two(self, account, message):
        if len(asked) == 2:
            return await send(self, account, message)
        asked.append(account.name)
        return DOWN

    claim_some = Claimer.claim

    def claim_and_ask(self, *free):
        claimed = claim_some(self, *free)
        if claimed.calls:
            apply.apply_action(requested.pk, ActionRequest(action=Action.HOLD, by="hermes"))
        return claimed

    monkeypatch.setattr(Sender, "send", refuse_the_first_two)
    monkeypatch.setattr(Claimer, "claim", claim_and_ask)
    failing_once(monkeypatch, claim, "read_pending_actions")

    assert dispatch() == 1

    assert (reloaded(refused).status, reloaded(requested).status) == (Status.DONE, Status.HELD)
    assert event_names(requested)[-1] == "HELD"
    assert not Attempt.objects.filter(state__in=[AttemptState.OPEN, AttemptState.UNKNOWN]).exists()
