"""What emails say is loaded after the claim, once, and never more of it than the memory is meant to hold."""

import pytest
from django.db import DataError, OperationalError, connection, transaction

from mails.dispatch import contents
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.due import claim
from mails.dispatch.steps.transitions import Result
from mails.models import Attempt, Content, Mail
from mails.states import AttemptState, HoldReason, Status
from mails.tests.builders import a_mail, dispatch, reloaded
from mails.tests.dispatch.test_database_failures import DOWN
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted
from providers.transports.sender import Sender

pytestmark = pytest.mark.django_db(transaction=True)

LARGE, BUDGET = 10_000, 64_000  # as 10 MB and 64 MB are
ACCEPTED = Accepted(provider_message_id="1", status_code=202)


def claimed(**more):
    branch = claim.Branch(queue="text", route=Mail.objects.values_list("route", flat=True).first(), limit=10)
    with claim.lock_claims():
        due = claim.select_due([branch], limit=10, now=database_clock.now(), **more)
    return [mail.id for mail in due]


def test_large_emails_are_in_memory_only_as_many_as_fit(olympus, monkeypatch):
    monkeypatch.setattr(claim, "MOST_BYTES", BUDGET)
    for number in range(20):
        a_mail(subject=f"{number:02}", content="x" * (LARGE - 2))
    runner, held = Dispatcher(["text"], concurrency=32), []

    async def send(self, account, message):
        in_memory = [call.message for call in runner._open_calls.values()]
        held.append(sum(message.size for message in in_memory))
        return ACCEPTED

    monkeypatch.setattr(Sender, "send", send)

    assert event_loop.run(runner.run(until_idle=True)) == 20

    assert max(held) == 6 * LARGE


def test_an_email_larger_than_the_memory_is_sent_alone(olympus, monkeypatch):
    monkeypatch.setattr(claim, "MOST_BYTES", BUDGET)
    for content in ("x", "x" * 2 * BUDGET, "x"):
        a_mail(content=content)
    runner, held = Dispatcher(["text"], concurrency=8), []

    async def send(self, account, message):
        held.append(len(runner._open_calls))
        return ACCEPTED

    monkeypatch.setattr(Sender, "send", send)

    assert event_loop.run(runner.run(until_idle=True)) == 3

    assert held == [1, 1, 1]


def test_a_claim_takes_what_fits_in_memory_with_the_emails_in_progress(monkeypatch):
    first, second, _ = (a_mail(subject="", content="x" * 100).pk for _ in range(3))
    monkeypatch.setattr(claim, "MOST_BYTES", 250)

    assert claimed() == [first, second]
    assert claimed(bytes_in_use=150) == [first]
    assert claimed(bytes_in_use=151) == []
    monkeypatch.setattr(claim, "MOST_BYTES", 1)
    assert claimed() == [first]
    assert claimed(bytes_in_use=1) == []


def test_a_claim_costs_one_query_more_and_in_no_transaction(olympus):
    for number in range(3):
        a_mail(subject=f"mail {number}")
    runner, asked = Dispatcher(["text"], concurrency=4), []

    def listen(execute, sql, params, many, context):
        asked.append(("mails_content" in sql, transaction.get_connection().in_atomic_block))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(listen):
        runner.claimer.claim(4)

    assert [in_transaction for of_content, in_transaction in asked if of_content] == [False]
    assert asked[-1] == (True, False)


def test_a_hand_over_loads_nothing_again(olympus, hades):
    a_mail(content="Hi")
    runner = Dispatcher(["text"], concurrency=4)
    [call] = runner.claimer.claim(4).calls
    Content.objects.all().delete()

    [again] = runner.recorder.record([Result(call=call, outcome=DOWN, latency=0.0)]).calls

    assert again.account != call.account
    assert again.message is call.message


def failing_to_load(monkeypatch, error, *, of=None, times=1):
    """Let the next reads of contents fail; `of`: those that include this email, each time."""
    read = contents._read_contents
    left = [times]

    def fail(mail_ids):
        if of in mail_ids if of else left[0]:
            left[0] -= 1
            raise error
        return read(mail_ids)

    monkeypatch.setattr(contents, "_read_contents", fail)


@pytest.mark.parametrize("error", [OperationalError("server closed the connection unexpectedly"), MemoryError()])
def test_emails_whose_content_cannot_be_loaded_now_are_queued_again_and_nothing_is_unknown(olympus, monkeypatch, error):
    mails = [a_mail(subject=f"mail {number}") for number in range(3)]
    failing_to_load(monkeypatch, error)
    runner = Dispatcher(["text"], concurrency=4)

    claimed = runner.claimer.claim(4)
    assert claimed.calls == []
    assert runner.recorder.record(claimed.not_made).calls == []

    assert {reloaded(mail).status for mail in mails} <= {Status.QUEUED, Status.WAITING}
    assert set(Attempt.objects.values_list("state", "reason_code")) <= {
        (AttemptState.REFUSED, "not-called"),
        (AttemptState.REFUSED, "local"),
    }
    assert not Mail.objects.filter(possible_duplicate=True).exists()
    assert olympus.breaker.window_failures == 0
    Mail.objects.update(next_attempt_at=database_clock.now())
    assert dispatch() == 3
    assert len(olympus.inbox()) == 3


def test_a_dispatcher_goes_on_by_itself_after_contents_could_not_be_loaded(olympus, monkeypatch):
    for number in range(3):
        a_mail(subject=f"mail {number}")
    failing_to_load(monkeypatch, OperationalError("server closed the connection unexpectedly"))

    assert dispatch() == 3

    assert len(olympus.inbox()) == 3


@pytest.mark.parametrize("broken", ["unreadable", "missing", "of another version", "of another shape"])
def test_one_email_that_cannot_be_loaded_is_held_and_ends_no_other_call(olympus, monkeypatch, broken):
    good, bad = a_mail(subject="good"), a_mail(subject="bad")
    match broken:
        case "unreadable":
            failing_to_load(monkeypatch, DataError("missing chunk number 0 for toast value"), of=bad.pk)
        case "missing":
            Content.objects.filter(mail=bad).delete()
        case "of another shape":
            Content.objects.filter(mail=bad).update(other_fields=["poem"])
        case _:
            Content.objects.filter(mail=bad).update(other_fields={"poem": "μῆνιν"})

    assert dispatch() == 1

    assert reloaded(good).status == Status.DONE
    assert (reloaded(bad).status, reloaded(bad).reason_code) == (Status.HELD, HoldReason.POISON)
