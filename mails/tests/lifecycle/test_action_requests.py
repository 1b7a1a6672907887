"""What is asked of a mail in flight, on real rows: at once, as a pending action during a call, and too late."""

import datetime as dt
import json

import pytest

from mails.actions import preview
from mails.actions.errors import AccountNotUsable, ActionNotAllowed, NoUntriedAccount
from mails.lifecycle.action_requests import AccountChoice
from mails.maintenance import sweeper
from mails.models import Mail
from mails.states import NEVER_CALLED, Action, AttemptState, HoldReason, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, event_names, reloaded
from mails.tests.lifecycle.support import (
    ACCEPTED,
    NOT_TRIED,
    REFUSED,
    UNKNOWN,
    CallsInProgress,
    read_last_blob,
    request_action,
)
from mercury.lib.database import database_clock
from providers.accounts import registration
from providers.outcomes import Accepted, RecipientRefusal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("action", [Action.CANCEL, Action.HOLD])
def test_a_mail_that_waits_is_stopped_at_once(action, olympus):
    mail = a_mail()

    acted = request_action(mail, action, note="Hera has moved")

    stopped = {Action.CANCEL: Status.CANCELLED, Action.HOLD: Status.HELD}[action]
    assert (acted.mail.status, acted.requested, acted.changed) == (stopped, False, True)
    event = mail.events.last()
    assert (event.event, event.created_by) == (stopped.name, "hermes")
    assert read_last_blob(mail)["note"] == "Hera has moved"
    assert dispatch() == 0
    assert olympus.inbox() == []


def test_asking_twice_changes_nothing(olympus):
    mail = a_mail()
    request_action(mail, Action.CANCEL)

    assert not request_action(mail, Action.CANCEL).changed

    assert event_names(mail).count("CANCELLED") == 1


def test_a_sent_mail_cannot_be_cancelled(olympus):
    mail = a_mail()
    dispatch()

    with pytest.raises(
        ActionNotAllowed, match=r"The email is sent, so it cannot be cancelled\. Possible actions now: none\."
    ):
        request_action(mail, Action.CANCEL)


def test_a_held_mail_goes_on_when_it_is_released(olympus):
    mail = a_mail()
    request_action(mail, Action.HOLD)

    request_action(mail, Action.RELEASE)

    assert dispatch() == 1
    assert event_names(mail)[3:5] == ["HELD", "RELEASED"]


def test_a_mail_released_after_its_time_has_an_hour_left(olympus):
    mail = a_mail()
    request_action(mail, Action.HOLD)
    Mail.objects.filter(pk=mail.pk).update(expires_at=database_clock.now() - dt.timedelta(days=1))

    request_action(mail, Action.RELEASE)

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
    handed = CallsInProgress()

    acted = request_action(mail, action, by="key:shop", note="why")
    assert (acted.requested, acted.mail.status) == (True, Status.SENDING)
    handed.answer(outcome)

    assert handed.calls == []
    assert (reloaded(mail).status, reloaded(mail).pending_action) == (status, "")
    assert event_names(mail)[6:] == names
    if status == Status.DONE:
        assert read_last_blob(mail)["too_late"] == {"action": action, "by": "key:shop"}
    else:
        assert (mail.events.last().created_by, read_last_blob(mail)["note"]) == ("key:shop", "why")
    assert mail.attempts.get().state != AttemptState.OPEN


@pytest.mark.parametrize("action", [Action.CANCEL, Action.HOLD])
def test_an_unknown_outcome_at_most_once_stays_one_when_it_was_to_be_held(action, olympus):
    mail = a_mail(delivery_guarantee="at-most-once")
    handed = CallsInProgress()

    request_action(mail, action)
    handed.answer(UNKNOWN)

    after = reloaded(mail)
    expected = {
        Action.CANCEL: (Status.CANCELLED, "cancelled"),
        Action.HOLD: (Status.HELD, HoldReason.UNKNOWN),
    }[action]
    assert (after.status, after.reason_code, after.possible_duplicate) == (*expected, True)


def test_a_pending_action_can_be_withdrawn(olympus, hades):
    mail = a_mail()
    handed = CallsInProgress()
    request_action(mail, Action.CANCEL)

    assert request_action(mail, Action.RELEASE).requested
    handed.answer(REFUSED)

    assert [call.mail.id for call in handed.calls] == [mail.pk]
    assert event_names(mail)[6:] == ["REQUESTED", "REQUESTED", "FAILURE", "RETRY", "READY TO SEND", "SEND"]


def test_the_later_request_counts(olympus, hades):
    mail = a_mail()
    handed = CallsInProgress()
    request_action(mail, Action.HOLD)
    request_action(mail, Action.CANCEL)

    handed.answer(REFUSED)

    assert reloaded(mail).status == Status.CANCELLED


def test_what_was_asked_during_a_call_that_was_lost_is_done_by_the_sweeper(olympus, hades):
    mail = a_mail()
    CallsInProgress()
    request_action(mail, Action.CANCEL)

    assert sweeper.sweep() == {"cancelled: requested": 1}

    assert event_names(mail)[6:] == ["REQUESTED", "UNKNOWN", "CANCELLED"]
    assert mail.attempts.get().state == AttemptState.UNKNOWN


def test_a_mail_that_one_recipient_got_is_cancelled_for_the_others(olympus):
    mail = a_mail(recipient=[HERA, IRIS])
    handed = CallsInProgress()
    request_action(mail, Action.CANCEL)

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

    request_action(mail, Action.REPROCESS)

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

    request_action(mail, Action.REPROCESS, note="hades is back", account_choice=NOT_TRIED)

    assert read_last_blob(mail) == {"before": "discarded", "note": "hades is back", "excluded": ["olympus"]}
    assert dispatch() == 1
    assert accounts_of(mail) == ["olympus", "hades"]
    assert evaluated(mail)["olympus"] == "already tried before the email was reprocessed"
    assert (len(olympus.inbox()), len(hades.inbox())) == (0, 1)


@pytest.mark.parametrize("account_choice", [NOT_TRIED, AccountChoice(via="hades")])
def test_the_choice_of_accounts_holds_in_all_rounds(account_choice, olympus, hades):
    mail = given_up(olympus, hades)
    hades.refuse(503)
    request_action(mail, Action.REPROCESS, account_choice=account_choice)
    dispatch()
    assert (reloaded(mail).status, reloaded(mail).round) == (Status.WAITING, 2)
    hades.behave()

    request_action(mail, Action.RETRY)

    assert dispatch() == 1
    assert accounts_of(mail) == ["olympus", "hades", "hades"]


def test_a_mail_that_its_accounts_refuse_tells_which_they_were(olympus, hades):
    mail = given_up(olympus, hades)
    hades.refuse(400)

    request_action(mail, Action.REPROCESS, account_choice=NOT_TRIED)
    dispatch()

    assert (read_last_blob(mail)["tried"], read_last_blob(mail)["excluded"]) == (["hades"], ["olympus"])
    with pytest.raises(NoUntriedAccount, match="the email was already tried with hades and olympus"):
        request_action(mail, Action.REPROCESS, account_choice=NOT_TRIED)
    assert reloaded(mail).status == Status.DISCARDED


def test_a_routing_constraint_lasts_until_the_email_is_reprocessed_in_another_way(olympus, hades):
    mail = given_up(olympus, hades)
    request_action(mail, Action.REPROCESS, account_choice=NOT_TRIED)
    request_action(mail, Action.HOLD)
    request_action(mail, Action.RELEASE)
    assert reloaded(mail).routing_constraint == {"excluded": ["olympus"]}
    request_action(mail, Action.HOLD)
    hades.disable()

    request_action(mail, Action.REPROCESS)

    assert reloaded(mail).routing_constraint is None
    assert dispatch() == 1
    assert accounts_of(mail) == ["olympus", "olympus"]


@pytest.mark.parametrize(
    ("account_choice", "forecast", "sentence"),
    [
        (AccountChoice(via="hades"), "waits: hades is not available", "The email waits: hades is not available."),
        (NOT_TRIED, "waits: no untried account available", "The email waits: no untried account available."),
        (
            AccountChoice(),
            "likely to succeed: 1 of 1 accounts available",
            "1 of 1 accounts available.",
        ),
    ],
)
def test_the_preview_of_a_release_knows_the_routing_constraint(account_choice, forecast, sentence, olympus, hades):
    mail = given_up(olympus, hades)
    request_action(mail, Action.REPROCESS, account_choice=account_choice)
    request_action(mail, Action.HOLD)
    hades.disable()

    [group] = preview.preview_action(Action.RELEASE, Mail.objects.filter(pk=mail.pk)).groups

    assert group.forecast == forecast
    assert preview.describe_effect(reloaded(mail), Action.RELEASE)[-1] == sentence


@pytest.mark.parametrize("name", ["hades", "charon"])
def test_a_mail_is_not_sent_through_an_account_that_takes_none(name, olympus, hades):
    mail = given_up(olympus, hades)
    hades.disable()

    words = f"Account '{name}' does not exist, or accepts no email now. Usable accounts: olympus"
    with pytest.raises(AccountNotUsable, match=words):
        request_action(mail, Action.REPROCESS, account_choice=AccountChoice(via=name))

    assert reloaded(mail).status == Status.DISCARDED


def test_a_disabled_account_is_none_that_is_left(olympus, hades):
    mail = given_up(olympus, hades)
    hades.disable()

    with pytest.raises(NoUntriedAccount, match="the email was already tried with olympus"):
        request_action(mail, Action.REPROCESS, account_choice=NOT_TRIED)


def test_an_account_that_was_not_called_after_all_counts_as_not_tried(olympus, hades):
    mail = given_up(olympus, hades)
    hades.disable()
    mail.attempts.update(reason_code=NEVER_CALLED)

    request_action(mail, Action.REPROCESS, account_choice=NOT_TRIED)

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

    request_action(mail, Action.REPROCESS)

    assert dispatch() == 1
