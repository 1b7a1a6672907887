"""The commands cancel, hold, release, reprocess and resolve."""

import datetime as dt

import pytest

from mails.maintenance import sweeper
from mails.models import Mail
from mails.states import Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mails.tests.commandline import run
from mercury.lib.commands import ExitCode
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_mail_is_cancelled_by_its_id():
    mail = a_mail()

    ran = run("cancel", str(mail.pk), "--note", "Hera has moved", "--yes")

    assert (ran.code, reloaded(mail).status) == (ExitCode.DONE, Status.CANCELLED)
    assert "1 cancelled, 0 skipped." in ran.out
    event = mail.events.last()
    assert (event.created_by, event.blob) == ("command line", '{"note": "Hera has moved"}')


def test_nothing_happens_without_a_yes():
    mail = a_mail()

    assert run("cancel", str(mail.pk)).code == ExitCode.USAGE_ERROR

    assert reloaded(mail).status == Status.QUEUED


def test_a_dry_run_says_what_would_happen_and_does_nothing():
    mail = a_mail()

    ran = run("hold", "--state", "queued", "--dry-run", "--json")

    assert (ran.document["eligible"], ran.document["done"], ran.document["dry_run"]) == (1, 0, True)
    assert ran.document["groups"] == [{"state": "Queued", "emails": 1, "forecast": "held"}]
    assert reloaded(mail).status == Status.QUEUED


def test_filters_choose_and_a_limit_bounds(olympus):
    mails = [a_mail(subject=str(number)) for number in range(3)]

    ran = run("hold", "--state", "queued", "--since", "1h", "--limit", "2", "--yes", "--json")

    assert ran.document["done"] == 2
    assert [reloaded(mail).status for mail in mails] == [Status.HELD, Status.HELD, Status.QUEUED]
    assert run("release", "--state", "held", "--reason", "operator", "--yes", "--json").document["done"] == 2


def test_a_sent_mail_is_skipped_with_its_reason(olympus):
    mail = a_mail()
    dispatch()

    ran = run("cancel", str(mail.pk), "--yes")

    assert ran.code == ExitCode.FAILED
    assert "1 skipped: sent." in ran.out


def test_some_of_the_named_are_skipped(olympus):
    sent = a_mail()
    dispatch()
    waiting = a_mail()

    assert run("cancel", str(sent.pk), str(waiting.pk), "--yes").code == ExitCode.PARTLY_DONE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cancel"], "Specify email ids or a filter: --state, --reason, --provider, --since."),
        (["resolve", "--sent"], "Specify email ids."),
        (["cancel", "x"], "'x' is not an email id"),
        (["cancel", "01a20ddb-a8b6-7014-87f0-beb4a547e404"], "No email with id"),
        (
            ["reprocess", "--state", "discarded", "--via", "charon"],
            "Account 'charon' does not exist, or accepts no email now",
        ),
        (["cancel", "--state", "queued", "--note", "\x1b"], "--note"),
    ],
)
def test_wrong_use_is_named(words, said, olympus):
    ran = run(*words)

    assert ran.code in {ExitCode.USAGE_ERROR, ExitCode.FAILED}
    assert said in ran.error


def discarded(account, status, **changes):
    account.refuse(status)
    mail = a_mail(**changes)
    dispatch()
    assert reloaded(mail).status == Status.DISCARDED
    return mail


def expired(account, status, **changes):
    account.refuse(status)
    mail = a_mail(**changes)
    dispatch()
    Mail.objects.filter(pk=mail.pk).update(expires_at=database_clock.now())
    sweeper.sweep()
    assert reloaded(mail).status == Status.EXPIRED
    return mail


def test_reprocess_at_a_time(olympus):
    mail = discarded(olympus, 400)
    at = database_clock.now().replace(microsecond=0) + dt.timedelta(days=2)

    ran = run("reprocess", str(mail.pk), "--at", at.isoformat(), "--expires", "2h", "--yes")

    assert "1 queued" in ran.out
    mail = reloaded(mail)
    assert (mail.send_at, mail.next_attempt_at, mail.expires_at) == (at, at, at + dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("at", "words"), [("2016-11-06T18:00Z", "--at: 2016-11-06 18:00 UTC is past"), ("soon", "--at: 'soon'")]
)
def test_reprocess_refuses_a_time_with_its_option(at, words, olympus):
    mail = discarded(olympus, 400)

    ran = run("reprocess", str(mail.pk), "--at", at, "--yes")

    assert (ran.code, reloaded(mail).status) == (ExitCode.USAGE_ERROR, Status.DISCARDED)
    assert words in ran.error


def test_reprocess_groups_by_cause_and_leaves_out_what_is_refused_for_its_own_sake(olympus):
    lost = discarded(olympus, 400)
    Mail.objects.update(failure_class="account", reason_code="smtp-550")
    wrong = discarded(olympus, 400)
    olympus.behave()

    ran = run("reprocess", "--state", "discarded", "--yes")

    assert "likely to succeed: 1 of 1 accounts available" in ran.out
    assert (
        "1 skipped: will be rejected again: the message is the problem. Use --include-rejected to include it."
        in ran.out
    )
    assert "1 queued, 1 skipped." in ran.out
    assert [reloaded(mail).status for mail in (lost, wrong)] == [Status.QUEUED, Status.DISCARDED]
    reason = reloaded(wrong).reason_code
    assert run("reprocess", "--state", "discarded", "--reason", reason, "--yes", "--json").document["done"] == 1


def test_reprocess_leaves_out_what_may_have_been_sent_unless_it_is_named(olympus, hades):
    olympus.lose_answer()
    hades.disable()
    mail = a_mail()
    dispatch()
    assert (reloaded(mail).status, reloaded(mail).possible_duplicate) == (Status.WAITING, True)

    ran = run("reprocess", "--state", "waiting", "--yes", "--json")

    assert ran.document["skipped_because"] == {"it may have been sent already": 1}
    assert run("reprocess", str(mail.pk), "--yes", "--json").document["done"] == 1


def test_reprocess_includes_what_an_option_names(olympus, hades):
    hades.disable()
    wrong = discarded(olympus, 400)
    olympus.lose_answer()
    uncertain = a_mail()
    dispatch()

    included = [
        run("reprocess", "--since", "1h", *options, "--dry-run", "--json").document["eligible"]
        for options in (
            [],
            ["--include-rejected"],
            ["--include-uncertain"],
            ["--include-rejected", "--include-uncertain"],
        )
    ]

    assert [reloaded(mail).status for mail in (wrong, uncertain)] == [Status.DISCARDED, Status.WAITING]
    assert included == [0, 1, 1, 2]


def test_reprocess_via_one_account(olympus, hades):
    hades.disable()
    mail = expired(olympus, 503)
    hades.enable()
    olympus.behave()

    ran = run("reprocess", str(mail.pk), "--via", "hades", "--yes")

    assert "likely to succeed: hades is available" in ran.out
    assert "They start over through hades only, as fast as the accounts' limits allow." in ran.out
    assert '"via": "hades"' in mail.events.last().blob
    assert dispatch() == 1
    assert len(hades.inbox()) == 1


def test_reprocess_through_accounts_not_tried_yet(olympus, hades):
    hades.disable()
    mail = discarded(olympus, 400)
    hades.enable()

    words = ("reprocess", "--state", "discarded", "--not-tried")
    looked = run(*words, "--dry-run", "--json").document
    ran = run(*words, "--yes")

    assert (looked["accounts"], looked["eligible"]) == ("not-tried", 1)
    assert looked["groups"][0]["forecast"] == "may succeed: not yet tried with hades"
    assert "They start over only through accounts not tried yet, as fast" in ran.out
    assert dispatch() == 1
    assert len(hades.inbox()) == 1
    assert '"excluded": ["olympus"]' in mail.events.get(event="REPROCESS").blob


def test_reprocess_leaves_out_what_every_account_was_tried_for(olympus):
    discarded(olympus, 400)

    ran = run("reprocess", "--state", "discarded", "--not-tried", "--yes", "--json")

    assert ran.document["skipped_because"] == {"every available account was already tried": 1}
    assert ran.document["done"] == 0


def test_one_account_and_those_not_tried_yet_do_not_go_together(olympus):
    ran = run("reprocess", "--state", "discarded", "--via", "olympus", "--not-tried")

    assert "not allowed with argument --via" in ran.error


def test_an_unknown_outcome_is_resolved(olympus, hades):
    olympus.lose_answer()
    hades.disable()
    mail = a_mail(delivery_guarantee="at-most-once")
    dispatch()

    excluded = run("reprocess", str(mail.pk), "--yes", "--json").document["skipped_because"]
    asked = [run("resolve", str(mail.pk), outcome).error for outcome in ("--sent", "--not-sent")]
    ran = run("resolve", str(mail.pk), "--sent", "--note", "olympus has it", "--yes")

    assert "Mark 1 email as sent?" in asked[0]
    assert "Mark 1 email as not sent?" in asked[1]
    assert excluded == {"the outcome is unknown: resolve it first": 1}
    assert (ran.code, reloaded(mail).status) == (ExitCode.DONE, Status.DONE)
    assert event_names(mail)[-2:] == ["RESOLVED", "DONE"]


def test_a_large_number_goes_in_groups(monkeypatch):
    monkeypatch.setattr("mails.actions.apply.BATCH", 2)
    for number in range(5):
        a_mail(subject=str(number))

    assert run("cancel", "--state", "queued", "--yes", "--json").document["done"] == 5
    assert set(Mail.objects.values_list("status", flat=True)) == {Status.CANCELLED}


@pytest.mark.parametrize(("verb", "state"), [("hold", "on hold"), ("cancel", "cancelled")])
def test_a_mail_that_is_already_as_asked_for_is_no_failure_as_over_the_api(verb, state):
    mail = a_mail()
    run(verb, str(mail.pk), "--yes")

    again = run(verb, str(mail.pk))  # nothing to ask

    assert again.code == ExitCode.DONE
    assert "Nothing to do." in again.out
    assert f"1 skipped: already {state}." in again.out
    assert event_names(mail)[-2] == "ENQUEUE"


def test_a_second_email_is_held_although_the_first_was_held_already():
    held, queued = a_mail(), a_mail()
    run("hold", str(held.pk), "--yes")

    ran = run("hold", str(held.pk), str(queued.pk), "--yes", "--json")

    assert (ran.code, ran.document["done"], ran.document["skipped"], ran.document["already"]) == (
        ExitCode.DONE,
        1,
        1,
        1,
    )


def test_a_sent_email_fails_although_the_other_was_held_already(olympus):
    sent = a_mail()
    dispatch()
    held = a_mail()
    run("hold", str(held.pk), "--yes")

    assert run("hold", str(held.pk), str(sent.pk)).code == ExitCode.PARTLY_DONE
