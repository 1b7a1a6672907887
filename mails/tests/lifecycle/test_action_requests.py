"""What is asked of a mail in flight, on real rows: at once, as a pending action during a call, and too late."""

import asyncio
import datetime as dt
import json

import pytest

from mails import pauses
from mails.actions import apply, pausing, preview
from mails.actions.errors import AccountNotUsable, ActionNotAllowed, NoUntriedAccount
from mails.dispatch import claim, transitions
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.transitions import Result
from mails.lifecycle import action_execution, action_requests
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from mails.maintenance import sweeper
from mails.models import Mail, Pause
from mails.states import Action, AttemptState, HoldReason, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, event_names, reloaded
from mercury.lib.database import database_clock
from providers.accounts import registration
from providers.outcomes import Accepted, FailureClass, RecipientRefusal, Refused, Unknown

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPTED = Accepted(provider_message_id="id-1", status_code=250)
REFUSED = Refused(
    failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="Come back later.", status_code=503
)
NOT_TRIED = AccountChoice(not_tried=True)
UNKNOWN = Unknown(reason_code="read-timeout", reason="No answer came.")


def ask(mail, action, by="hermes", note="", **more):
    return apply.apply_action(mail.pk, ActionRequest(action=action, by=by, note=note, **more))


class Handed:
    """A dispatcher that has handed its mails to providers, which have not answered yet."""

    def __init__(self):
        self.dispatch = Dispatcher(["text"], concurrency=8)
        self.calls = self.dispatch.claimer.claim(8).calls

    def answer(self, outcome):
        results = [Result(call=call, outcome=outcome, latency=0.1) for call in self.calls]
        self.calls = self.dispatch.recorder.record(results).calls


def last_blob(mail):
    return json.loads(mail.events.last().blob or "{}")


@pytest.mark.parametrize("action", [Action.CANCEL, Action.HOLD])
def test_a_mail_that_waits_is_stopped_at_once(action, olympus):
    mail = a_mail()

    acted = ask(mail, action, note="Hera has moved")

    stopped = {Action.CANCEL: Status.CANCELLED, Action.HOLD: Status.HELD}[action]
    assert (acted.mail.status, acted.requested, acted.changed) == (stopped, False, True)
    event = mail.events.last()
    assert (event.event, event.created_by) == (stopped.name, "hermes")
    assert last_blob(mail)["note"] == "Hera has moved"
    assert dispatch() == 0
    assert olympus.inbox() == []


def test_asking_twice_changes_nothing(olympus):
    mail = a_mail()
    ask(mail, Action.CANCEL)

    assert not ask(mail, Action.CANCEL).changed

    assert event_names(mail).count("CANCELLED") == 1


def test_a_sent_mail_cannot_be_cancelled(olympus):
    mail = a_mail()
    dispatch()

    with pytest.raises(
        ActionNotAllowed, match=r"The email is sent, so it cannot be cancelled\. Possible actions now: none\."
    ):
        ask(mail, Action.CANCEL)


def test_a_held_mail_goes_on_when_it_is_released(olympus):
    mail = a_mail()
    ask(mail, Action.HOLD)

    ask(mail, Action.RELEASE)

    assert dispatch() == 1
    assert event_names(mail)[3:5] == ["HELD", "RELEASED"]


def test_a_mail_released_after_its_time_has_an_hour_left(olympus):
    mail = a_mail()
    ask(mail, Action.HOLD)
    Mail.objects.filter(pk=mail.pk).update(expires_at=database_clock.now() - dt.timedelta(days=1))

    ask(mail, Action.RELEASE)

    assert dispatch() == 1


@pytest.mark.parametrize(
    ("action", "outcome", "status", "names"),
    [
        (Action.CANCEL, REFUSED, Status.CANCELLED, ["REQUESTED", "FAILURE", "CANCELLED"]),
        (Action.CANCEL, UNKNOWN, Status.CANCELLED, ["REQUESTED", "UNKNOWN", "CANCELLED"]),
        (Action.CANCEL, ACCEPTED, Status.DONE, ["REQUESTED", "DONE"]),
        (Action.HOLD, REFUSED, Status.HELD, ["REQUESTED", "FAILURE", "HELD"]),
        (Action.HOLD, UNKNOWN, Status.HELD, ["REQUESTED", "UNKNOWN", "HELD"]),
        (Action.HOLD, ACCEPTED, Status.DONE, ["REQUESTED", "DONE"]),
    ],
)
def test_what_is_asked_during_a_call_is_done_when_it_is_closed(action, outcome, status, names, olympus, hades):
    mail = a_mail()
    handed = Handed()

    acted = ask(mail, action, by="key:shop", note="why")
    assert (acted.requested, acted.mail.status) == (True, Status.SENDING)
    handed.answer(outcome)

    assert handed.calls == []
    assert (reloaded(mail).status, reloaded(mail).pending_action) == (status, "")
    assert event_names(mail)[6:] == names
    if status == Status.DONE:
        assert last_blob(mail)["too_late"] == {"action": action, "by": "key:shop"}
    else:
        assert (mail.events.last().created_by, last_blob(mail)["note"]) == ("key:shop", "why")
    assert mail.attempts.get().state != AttemptState.OPEN


@pytest.mark.parametrize("action", [Action.CANCEL, Action.HOLD])
def test_an_unknown_outcome_at_most_once_stays_one_when_it_was_to_be_held(action, olympus):
    mail = a_mail(delivery_guarantee="at-most-once")
    handed = Handed()

    ask(mail, action)
    handed.answer(UNKNOWN)

    after = reloaded(mail)
    expected = {
        Action.CANCEL: (Status.CANCELLED, "cancelled"),
        Action.HOLD: (Status.HELD, HoldReason.UNKNOWN),
    }[action]
    assert (after.status, after.reason_code, after.possible_duplicate) == (*expected, True)


def test_a_pending_action_can_be_withdrawn(olympus, hades):
    mail = a_mail()
    handed = Handed()
    ask(mail, Action.CANCEL)

    assert ask(mail, Action.RELEASE).requested
    handed.answer(REFUSED)

    assert [call.mail.id for call in handed.calls] == [mail.pk]
    assert event_names(mail)[6:] == ["REQUESTED", "REQUESTED", "FAILURE", "RETRY", "READY TO SEND", "SEND"]


def test_the_later_request_counts(olympus, hades):
    mail = a_mail()
    handed = Handed()
    ask(mail, Action.HOLD)
    ask(mail, Action.CANCEL)

    handed.answer(REFUSED)

    assert reloaded(mail).status == Status.CANCELLED


def test_what_was_asked_during_a_call_that_was_lost_is_done_by_the_sweeper(olympus, hades):
    mail = a_mail()
    Handed()
    ask(mail, Action.CANCEL)

    assert sweeper.sweep() == {"cancelled: requested": 1}

    assert event_names(mail)[6:] == ["REQUESTED", "UNKNOWN", "CANCELLED"]
    assert mail.attempts.get().state == AttemptState.UNKNOWN


def test_a_mail_that_one_recipient_got_is_cancelled_for_the_others(olympus):
    mail = a_mail(recipient=[HERA, IRIS])
    handed = Handed()
    ask(mail, Action.CANCEL)

    handed.answer(
        Accepted(
            provider_message_id="id-1",
            status_code=250,
            refused=(RecipientRefusal(address=IRIS, reason="later", permanent=False),),
        )
    )

    assert reloaded(mail).status == Status.DONE
    assert {recipient.address: recipient.state for recipient in mail.recipients.all()} == {
        HERA: RecipientState.ACCEPTED,
        IRIS: RecipientState.REFUSED,
    }


def test_a_discarded_mail_begins_again_with_all_accounts(olympus):
    olympus.refuse(400)
    mail = a_mail()
    dispatch()
    assert reloaded(mail).status == Status.DISCARDED
    olympus.behave()

    ask(mail, Action.REPROCESS)

    assert [recipient.state for recipient in mail.recipients.all()] == [RecipientState.PENDING]
    assert dispatch() == 1
    assert [recipient.state for recipient in mail.recipients.all()] == [RecipientState.ACCEPTED]


def given_up(olympus, hades, status=400):
    """A mail that olympus refused, when hades took no mail."""
    olympus.refuse(status)
    hades.disable()
    mail = a_mail()
    dispatch()
    assert reloaded(mail).status == Status.DISCARDED
    hades.enable()
    olympus.behave()
    return mail


def accounts_of(mail):
    return list(mail.attempts.order_by("number").values_list("account", flat=True))


def evaluated(mail):
    """Why each account was or was not chosen at the last hand-over."""
    ready = json.loads(mail.events.filter(event="READY TO SEND").last().blob)
    return {account["account"]: account["note"] for account in ready["evaluated"]}


def test_a_mail_goes_on_only_with_accounts_that_it_was_not_tried_with(olympus, hades):
    mail = given_up(olympus, hades)

    ask(mail, Action.REPROCESS, note="hades is back", account_choice=NOT_TRIED)

    assert last_blob(mail) == {"before": "discarded", "note": "hades is back", "excluded": ["olympus"]}
    assert dispatch() == 1
    assert accounts_of(mail) == ["olympus", "hades"]
    assert evaluated(mail)["olympus"] == "already tried before the email was reprocessed"
    assert (len(olympus.inbox()), len(hades.inbox())) == (0, 1)


@pytest.mark.parametrize("account_choice", [NOT_TRIED, AccountChoice(via="hades")])
def test_the_choice_of_accounts_holds_in_all_rounds(account_choice, olympus, hades):
    mail = given_up(olympus, hades)
    hades.refuse(503)
    ask(mail, Action.REPROCESS, account_choice=account_choice)
    dispatch()
    assert (reloaded(mail).status, reloaded(mail).round) == (Status.WAITING, 2)
    hades.behave()

    ask(mail, Action.RETRY)

    assert dispatch() == 1
    assert accounts_of(mail) == ["olympus", "hades", "hades"]


def test_a_mail_that_its_accounts_refuse_tells_which_they_were(olympus, hades):
    mail = given_up(olympus, hades)
    hades.refuse(400)

    ask(mail, Action.REPROCESS, account_choice=NOT_TRIED)
    dispatch()

    assert (last_blob(mail)["tried"], last_blob(mail)["excluded"]) == (["hades"], ["olympus"])
    with pytest.raises(NoUntriedAccount, match="the email was already tried with hades and olympus"):
        ask(mail, Action.REPROCESS, account_choice=NOT_TRIED)
    assert reloaded(mail).status == Status.DISCARDED


def test_a_routing_constraint_lasts_until_the_email_is_reprocessed_in_another_way(olympus, hades):
    mail = given_up(olympus, hades)
    ask(mail, Action.REPROCESS, account_choice=NOT_TRIED)
    ask(mail, Action.HOLD)
    ask(mail, Action.RELEASE)
    assert reloaded(mail).routing_constraint == {"excluded": ["olympus"]}
    ask(mail, Action.HOLD)
    hades.disable()

    ask(mail, Action.REPROCESS)

    assert reloaded(mail).routing_constraint is None
    assert dispatch() == 1
    assert accounts_of(mail) == ["olympus", "olympus"]


@pytest.mark.parametrize("name", ["hades", "charon"])
def test_a_mail_is_not_sent_through_an_account_that_takes_none(name, olympus, hades):
    mail = given_up(olympus, hades)
    hades.disable()

    with pytest.raises(AccountNotUsable, match=f"No account '{name}' can be used. Usable accounts: olympus"):
        ask(mail, Action.REPROCESS, account_choice=AccountChoice(via=name))

    assert reloaded(mail).status == Status.DISCARDED


def test_a_disabled_account_is_none_that_is_left(olympus, hades):
    mail = given_up(olympus, hades)
    hades.disable()

    with pytest.raises(NoUntriedAccount, match="the email was already tried with olympus"):
        ask(mail, Action.REPROCESS, account_choice=NOT_TRIED)


def test_an_account_that_was_not_called_after_all_counts_as_not_tried(olympus, hades):
    mail = given_up(olympus, hades)
    hades.disable()
    mail.attempts.update(reason_code=transitions.NOT_CALLED.reason_code)

    ask(mail, Action.REPROCESS, account_choice=NOT_TRIED)

    assert dispatch() == 1
    assert len(olympus.inbox()) == 1


@pytest.mark.parametrize("account_choice", [AccountChoice(), NOT_TRIED, AccountChoice(via="hades")])
def test_a_choice_of_accounts_reads_as_it_was_written(account_choice):
    assert AccountChoice.parse(account_choice.as_text()) == account_choice


def test_the_pace_is_shown_where_all_accounts_have_limits(olympus, hades):
    assert preview.estimate_send_time(90, AccountChoice()) == "as fast as the accounts' limits allow."
    registration.update(olympus.account, rate=1.0, by="test")
    registration.update(hades.account, rate=2.0, by="test")

    assert "3 per second, about 30 s" in preview.estimate_send_time(90, AccountChoice())
    assert "2 per second, about 45 s" in preview.estimate_send_time(90, AccountChoice(via="hades"))
    assert preview.estimate_send_time(90, NOT_TRIED) == "as fast as the accounts' limits allow."


def test_an_expired_mail_has_the_time_of_a_new_one(olympus):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(expires_at=database_clock.now() - dt.timedelta(days=1))
    sweeper.sweep()
    assert reloaded(mail).status == Status.EXPIRED

    ask(mail, Action.REPROCESS)

    assert dispatch() == 1


@pytest.fixture
def unknown(olympus, hades):
    """A mail that olympus may have sent, and that must not be sent twice."""
    olympus.lose_answer()
    hades.disable()
    mail = a_mail(delivery_guarantee="at-most-once")
    dispatch()
    hades.enable()
    olympus.behave()
    return mail


@pytest.mark.parametrize("action", [Action.RELEASE, Action.REPROCESS])
def test_an_unknown_outcome_is_only_resolved_never_sent_again(action, unknown):
    with pytest.raises(ActionNotAllowed, match="outcome unknown"):
        ask(unknown, action)


def test_an_unknown_outcome_is_resolved_as_sent(unknown, hades):
    ask(unknown, Action.SENT, note="it is in olympus' log")

    resolved = reloaded(unknown)
    assert (resolved.status, resolved.possible_duplicate, resolved.provider) == (Status.DONE, False, "olympus")
    assert event_names(unknown)[-2:] == ["RESOLVED", "DONE"]
    assert last_blob(unknown)["accepted"] == [HERA]
    assert hades.inbox() == []


def test_an_unknown_outcome_that_was_not_sent_goes_to_the_next_account(unknown, olympus, hades):
    ask(unknown, Action.NOT_SENT)

    dispatch()

    assert (reloaded(unknown).status, reloaded(unknown).provider) == (Status.DONE, "hades")
    assert not reloaded(unknown).possible_duplicate
    assert len(hades.inbox()) == 1


def test_a_late_answer_resolves_an_email_that_is_held_for_it(olympus):
    mail = a_mail(delivery_guarantee="at-most-once")
    handed = Handed()
    sweeper.sweep()
    assert reloaded(mail).reason_code == HoldReason.UNKNOWN

    handed.answer(ACCEPTED)

    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.DONE, False)
    assert event_names(mail)[6:] == ["UNKNOWN", "HELD", "LATE RESULT", "RESOLVED", "DONE"]
    assert mail.attempts.get().state == AttemptState.ACCEPTED


def test_a_late_answer_keeps_a_mail_that_waits_from_being_sent_twice(olympus, hades):
    mail = a_mail()
    handed = Handed()
    sweeper.sweep()
    assert reloaded(mail).status == Status.QUEUED

    handed.answer(ACCEPTED)

    assert reloaded(mail).status == Status.DONE
    assert dispatch() == 0


def test_a_late_answer_during_another_call_stops_what_would_follow(olympus, hades):
    mail = a_mail()
    first = Handed()
    sweeper.sweep()
    second = Handed()

    first.answer(ACCEPTED)
    second.answer(REFUSED)

    assert (reloaded(mail).status, reloaded(mail).provider) == (Status.DONE, first_account(mail))
    assert event_names(mail)[-3:] == ["FAILURE", "RESOLVED", "DONE"]


def test_two_accepted_attempts_are_recorded_as_a_duplicate(olympus, hades):
    mail = a_mail()
    first = Handed()
    sweeper.sweep()
    second = Handed()

    first.answer(ACCEPTED)
    second.answer(ACCEPTED)

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.DONE, "duplicate")
    assert event_names(mail)[-2:] == ["DUPLICATE", "DONE"]


def test_a_late_answer_for_a_mail_that_another_sent_is_a_duplicate_once(olympus, hades):
    mail = a_mail()
    first = Handed()
    sweeper.sweep()
    second = Handed()

    second.answer(ACCEPTED)
    first.answer(ACCEPTED)
    action_execution.apply_confirmations([action_requests.Confirmation(mail_id=mail.pk, account="olympus", number=1)])

    assert reloaded(mail).reason_code == "duplicate"
    assert event_names(mail).count("DUPLICATE") == 1
    assert event_names(mail).count("DONE") == 1


def test_a_late_answer_that_was_written_before_is_no_duplicate(olympus):
    mail = a_mail()
    handed = Handed()
    calls = handed.calls
    handed.dispatch.recorder.record([Result(call=call, outcome=ACCEPTED, latency=0.1) for call in calls])

    handed.calls = calls
    handed.answer(ACCEPTED)

    assert (reloaded(mail).status, reloaded(mail).reason_code) == (Status.DONE, "")


def first_account(mail):
    return mail.attempts.order_by("number").first().account


# The pause of all sending


def test_while_sending_is_paused_emails_are_accepted_and_nothing_is_sent(olympus):
    assert pausing.pause_sending(by="hermes", note="restore")
    mail = a_mail()

    assert dispatch() == 0
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert not pausing.pause_sending(by="hermes")

    assert pausing.resume_sending(by="hermes")
    assert not pausing.resume_sending(by="hermes")
    assert dispatch() == 1


def test_an_email_found_before_sending_was_paused_stays_where_it_is(olympus, monkeypatch):
    mail = a_mail()
    due = claim.select_due

    def then_pause(*arguments, **options):
        found = due(*arguments, **options)
        pauses.pause(by="hermes")
        return found

    monkeypatch.setattr(claim, "select_due", then_pause)

    assert Handed().calls == []

    assert (reloaded(mail).status, mail.attempts.count()) == (Status.QUEUED, 0)


def test_an_email_refused_while_sending_is_paused_is_not_handed_on(olympus, hades):
    mail = a_mail()
    handed = Handed()
    pauses.pause(by="hermes")

    handed.answer(REFUSED)

    assert (handed.calls, reloaded(mail).status) == ([], Status.QUEUED)
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]
    pauses.resume(by="hermes")
    assert dispatch() == 1
    assert mail.attempts.count() == 2


def test_an_instance_that_starts_paused_sends_nothing_until_it_is_resumed(olympus, settings):
    settings.MERCURY_START_PAUSED = True
    mail = a_mail()

    assert dispatch() == 0
    assert dispatch() == 0
    assert pauses.load_active().all_sending.at_start

    pausing.resume_sending(by="command line")
    Pause.objects.update(resumed_at=database_clock.now() - dt.timedelta(days=1))
    sweeper.sweep_if_leader("w")
    sweeper.sweep_if_leader("w")  # it lives, so the next start is a restart

    assert dispatch() == 1
    assert reloaded(mail).status == Status.DONE


def test_a_restored_instance_is_paused_again(olympus, settings):
    settings.MERCURY_START_PAUSED = True
    pauses.pause_at_start()
    pauses.resume(by="command line")
    pauses.pause_at_start()
    assert pauses.load_active().all_sending is None
    Pause.objects.update(resumed_at=database_clock.now() - dt.timedelta(days=1))

    pauses.pause_at_start()

    assert pauses.load_active().all_sending is not None


def test_a_dispatcher_in_its_loop_holds_what_it_was_asked_to(olympus, hades):
    olympus.refuse(503)
    hades.refuse(503)
    mail = a_mail()
    asyncio.run(Dispatcher(["text"], concurrency=8).run(until_idle=True))
    assert reloaded(mail).status == Status.WAITING

    ask(mail, Action.REPROCESS)

    assert (reloaded(mail).status, reloaded(mail).round, reloaded(mail).tried) == (Status.QUEUED, 1, [])
