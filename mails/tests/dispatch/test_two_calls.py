"""Two calls of one email in one dispatcher: its lease was lost during the first one. Their results may end up in one group."""

import asyncio

import pytest
from django.db import connection

from mails.dispatch.dispatcher import Dispatcher
from mails.lifecycle import writer
from mails.lifecycle.values import IllegalTransition, Step, read_state
from mails.maintenance import sweeper
from mails.models import Mail
from mails.states import Status
from mails.tests.builders import a_mail, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted, FailureClass, Refused
from providers.transports.sender import Sender

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPTED = Accepted(provider_message_id="1", status_code=202)
DOWN = Refused(failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="Come back later.", status_code=503)


def lose_the_lease():
    """In a thread of its own: close its connection."""
    try:
        Mail.objects.update(lease_expires_at=database_clock.from_ns(database_clock.now_ns() - 1_000_000_000))
        assert sweeper.sweep() == {"queued again: outcome unknown": 1}
    finally:
        connection.close()


def call_twice_at_once(monkeypatch, first, second, *, until_stop=False):
    """Dispatch an email whose lease is lost during its first call, and return the calls made.

    That call ends with the second one; `until_stop`: after the dispatcher was stopped, when the result of that is written.
    """
    called, both = [], asyncio.Event()

    def note_done(progress):
        if progress.done and until_stop:
            runner.stop()

    runner = Dispatcher(["text"], concurrency=8, on_progress=note_done)

    async def send(self, account, message):
        called.append(account.name)
        if len(called) == 1:
            await asyncio.get_running_loop().run_in_executor(None, lose_the_lease)
            runner.wake()
            await both.wait()
            return first
        if not until_stop:
            both.set()
        return second

    monkeypatch.setattr(Sender, "send", send)
    monkeypatch.setattr(Sender, "end_calls_within", lambda self, seconds: both.set())
    event_loop.run(runner.run(until_idle=True))
    return called


def test_an_email_that_two_calls_accepted_at_the_same_moment_is_done_once(olympus, hades, monkeypatch):
    mail = a_mail()

    assert len(call_twice_at_once(monkeypatch, ACCEPTED, ACCEPTED)) == 2

    assert reloaded(mail).status == Status.DONE
    assert event_names(mail).count("DONE") == 1
    assert {attempt.state for attempt in mail.attempts.all()} == {"accepted"}
    assert reloaded(mail).reason_code == "duplicate"


def test_a_late_refusal_of_an_accepted_email_makes_no_call(olympus, hades, monkeypatch):
    mail = a_mail()

    called = call_twice_at_once(monkeypatch, DOWN, ACCEPTED)

    assert len(called) == mail.attempts.count() == 2
    assert (reloaded(mail).status, event_names(mail).count("DONE")) == (Status.DONE, 1)
    assert event_names(mail).count("FAILURE") == 0  # it came late


def test_a_dispatcher_does_not_end_before_the_first_of_them_is_written(olympus, hades, monkeypatch):
    mail = a_mail()

    call_twice_at_once(monkeypatch, ACCEPTED, ACCEPTED, until_stop=True)

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.DONE, "duplicate")
    assert event_names(mail)[-3:] == ["DONE", "LATE RESULT", "DUPLICATE"]


def test_two_steps_of_one_email_are_not_written_together():
    mail = a_mail()
    state = read_state(mail)
    step = Step(mail_id=mail.pk, before=Status.QUEUED, fence=None, after=state._replace(status=Status.HELD))

    with pytest.raises(IllegalTransition, match="two steps"):
        writer.record([step, step])
