"""An account that refuses everything does not judge emails: from then on its refusals count as its own."""

import datetime as dt
import html
import re
from urllib.parse import urlencode

import pytest
from django.urls import reverse

from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.steps.transitions import Result
from mails.models import Mail
from mails.reporting import alerts, search, system_status, systemic_refusals
from mails.states import Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, event_names, reloaded
from mails.tests.commandline import run
from mails.tests.people import browser_of, hermes
from mercury.lib.database import database_clock
from providers.health.refusal_runs import MANY, SEVERAL
from providers.models import BreakerChange, RefusalRun
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, RecipientRefusal, Refused

pytestmark = pytest.mark.django_db(transaction=True)

SPAM = Refused(failure_class=FailureClass.MESSAGE, reason_code="smtp-554", reason="554 5.6.0 Rejected", status_code=554)
ACCEPTED = Accepted(provider_message_id="1", status_code=250)


def unknown_mailbox(address):
    refused = (RecipientRefusal(address=address, reason="550 5.1.1 no such user", permanent=True),)
    return Refused(
        failure_class=FailureClass.MESSAGE,
        reason_code="smtp-550",
        reason="550 5.1.1 no such user",
        status_code=550,
        refused=refused,
    )


def emails(count, *, first=0):
    return [a_mail(recipient=f"person{number}@olimpus.com") for number in range(first, first + count)]


def answered(runner, outcome, *, one_by_one=True):
    """Claim what is due and give each call this answer; return how many calls there were."""
    calls = runner.claimer.claim(256).calls
    results = [
        Result(call=call, outcome=outcome(call) if callable(outcome) else outcome, latency=0.1) for call in calls
    ]
    for group in ([result] for result in results) if one_by_one else [results]:
        runner.recorder.record(group)
    return len(calls)


def ends(mails):
    return [reloaded(mail).status for mail in mails]


@pytest.mark.parametrize("one_by_one", [True, False], ids=["calls one by one", "calls in one group"])
def test_after_several_refused_emails_in_a_row_the_others_wait(one_by_one, olympus):
    mails = emails(12)

    answered(Dispatcher(["text"], concurrency=32), SPAM, one_by_one=one_by_one)

    assert ends(mails) == [Status.DISCARDED] * (SEVERAL - 1) + [Status.WAITING] * (12 - SEVERAL + 1)
    waiting = reloaded(mails[-1])
    assert (waiting.failure_class, event_names(mails[-1])[-1]) == ("account", "RETRY")
    assert "refuses every email" in mails[-1].attempts.get().reason
    assert BreakerChange.objects.filter(what__startswith="refuses every email").count() == 1
    run_on_record = RefusalRun.objects.get()
    assert run_on_record.noticed_at >= run_on_record.began_at


def test_all_workers_share_what_one_has_seen(olympus):
    one, two = Dispatcher(["text"], concurrency=32), Dispatcher(["text"], concurrency=32)
    first = emails(3)
    answered(one, SPAM)
    second = emails(3, first=10)
    answered(two, SPAM)

    assert ends(first) == [Status.DISCARDED] * 3
    assert ends(second) == [Status.DISCARDED, Status.WAITING, Status.WAITING]


def test_an_acceptance_in_between_shows_that_it_judges_emails(olympus):
    runner, mails = Dispatcher(["text"], concurrency=32), emails(12)
    answers = iter([SPAM, SPAM, SPAM, ACCEPTED] * 3)

    answered(runner, lambda call: next(answers))

    assert ends(mails) == [Status.DISCARDED, Status.DISCARDED, Status.DISCARDED, Status.DONE] * 3
    assert RefusalRun.objects.get().marks == ""


def test_an_account_that_refuses_nothing_costs_no_row(olympus):
    emails(5)

    assert dispatch() == 5

    assert not RefusalRun.objects.exists()


def test_many_emails_to_the_same_people_are_one(olympus):
    mails = [a_mail(subject=f"mail {number}", recipient=[HERA, IRIS]) for number in range(10)]

    answered(Dispatcher(["text"], concurrency=32), SPAM)

    assert set(ends(mails)) == {Status.DISCARDED}


def test_mailboxes_that_do_not_exist_are_believed_for_longer(olympus):
    mails = emails(MANY + 5)

    answered(Dispatcher(["text"], concurrency=64), lambda call: unknown_mailbox(call.mail.recipients[0].address))

    assert ends(mails) == [Status.DISCARDED] * (MANY - 1) + [Status.WAITING] * 6


def test_what_was_never_asked_says_nothing(olympus):
    mails = emails(10)

    answered(
        Dispatcher(["text"], concurrency=32),
        NotAttempted(cause=Cause.MESSAGE, reason_code="unsupported", reason="no"),
    )

    assert set(ends(mails)) == {Status.DISCARDED}
    assert not RefusalRun.objects.exists()


def test_those_emails_go_elsewhere_where_there_is_an_elsewhere(olympus, hades):
    mails = emails(30)
    runner = Dispatcher(["text"], concurrency=128)

    for _ in range(3):
        calls = runner.claimer.claim(64).calls
        while calls:
            results = [
                Result(call=call, outcome=SPAM if call.account.name == "olympus" else ACCEPTED, latency=0.1)
                for call in calls
            ]
            calls = runner.recorder.record(results).calls

    assert set(ends(mails)) == {Status.DONE}


def refused_everything(olympus, count=7):
    mails = emails(count)
    runner = Dispatcher(["text"], concurrency=32)
    answered(runner, SPAM)
    return runner, mails


def alert():
    found = [
        alert for alert in alerts.find_alerts(system_status.read_system_status()) if alert.code == "systemic_refusals"
    ]
    return found[0] if found else None


def test_the_alert_stays_until_all_is_done(olympus):
    assert alert() is None
    runner, mails = refused_everything(olympus)

    found = alert()
    assert (found.tone, found.about) == ("bad", "olympus")
    assert "554 5.6.0 Rejected" in found.sentence
    assert found.emails == "state=discarded&q=refusals%3Aolympus"
    Mail.objects.filter(status=Status.WAITING).update(next_attempt_at=database_clock.now())
    answered(runner, ACCEPTED)
    assert BreakerChange.objects.filter(what="accepts email again").count() == 1
    assert (alert().tone, "4 emails discarded" in alert().remedy) == ("waiting", True)
    run("reprocess", "--refusals-of", "olympus", "--yes")
    assert alert() is None
    assert answered(runner, ACCEPTED) == 4
    assert set(ends(mails)) == {Status.DONE}


def test_an_account_that_accepted_again_judges_emails_again(olympus):
    runner, _ = refused_everything(olympus)
    Mail.objects.filter(status=Status.WAITING).update(next_attempt_at=database_clock.now())
    answered(runner, ACCEPTED)

    later = emails(1, first=100)
    answered(runner, SPAM)

    assert ends(later) == [Status.DISCARDED]


def test_search_finds_what_ended_in_the_spell_and_nothing_else(olympus):
    before = emails(2, first=50)
    runner = Dispatcher(["text"], concurrency=32)
    answered(runner, SPAM)
    emails(1, first=60)
    answered(runner, ACCEPTED)
    Mail.objects.filter(pk__in=[mail.pk for mail in before]).update(
        finished_at=database_clock.now() - dt.timedelta(minutes=5)
    )
    _, mails = refused_everything(olympus)

    found = search.narrow(Mail.objects.all(), "refusals:olympus")

    assert {mail.pk for mail in found} == {mail.pk for mail in mails if reloaded(mail).status == Status.DISCARDED}
    assert not search.narrow(Mail.objects.all(), "refusals:hades").exists()


def test_a_command_reprocesses_them_in_one_go(olympus):
    refused_everything(olympus)

    ran = run("reprocess", "--refusals-of", "olympus", "--yes", "--json")

    assert (ran.document["done"], ran.document["skipped"]) == (4, 0)


def test_a_page_reprocesses_them_in_one_go(admin_client, olympus):
    refused_everything(olympus)
    query = urlencode(
        {"state": "discarded", "q": f"{systemic_refusals.WORD}olympus", "scope": "all", "action": "reprocess"}
    )

    page = admin_client.get(f"{reverse('admin:mails_mail_bulk')}?{query}")

    assert "Reprocess 4 emails" in page.content.decode()


def test_the_alert_leads_in_one_click_to_reprocessing_what_was_discarded(olympus):
    runner, mails = refused_everything(olympus)
    Mail.objects.filter(status=Status.WAITING).update(next_attempt_at=database_clock.now())
    answered(runner, ACCEPTED)
    operator = browser_of(hermes())

    page = operator.get("/admin/").text
    [link] = re.findall(r'href="([^"]*)">Reprocess discarded emails…', page)
    link = html.unescape(link)
    asked = operator.get(link)
    operator.post(link)

    assert asked.status_code == 200
    assert "4 skipped" not in asked.text
    assert answered(runner, ACCEPTED) == 4
    assert set(ends(mails)) == {Status.DONE}
