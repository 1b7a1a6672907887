"""Orders for many mails: chosen by ticks or by the list's filter, said first, then done in batches that no crash doubles."""

import csv
import datetime as dt
import html
import io
import re

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from mails.actions import bulk
from mails.admin import export
from mails.dispatch import wake
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice, ActionRequest
from mails.maintenance import scheduler
from mails.models import BulkAction, Mail
from mails.reporting.search import Filter
from mails.states import Action, HoldReason, Status
from mails.tests.builders import IRIS, a_mail, dispatch, event_names, reloaded
from mails.tests.people import browser_of, hermes, zeus
from mercury.lib.database import database_clock
from providers.outcomes import FailureClass

pytestmark = pytest.mark.django_db(transaction=True)
MAILS = "/admin/mails/mail/"


@pytest.fixture
def operator():
    return browser_of(hermes())


def discarded(**changes):
    """A mail that was given up, for a fault of the providers unless `changes` say otherwise."""
    mail = a_mail()
    given_up = {
        "status": Status.DISCARDED,
        "reason_code": "http-503",
        "failure_class": FailureClass.PROVIDER,
        "next_attempt_at": None,
    }
    Mail.objects.filter(pk=mail.pk).update(**given_up | changes)
    return reloaded(mail)


def asked(action=Action.REPROCESS, selected=None, account_choice=EVERY_ACCOUNT, **more):
    order = ActionRequest(action=action, by="user:hermes", note="mended", account_choice=account_choice)
    return bulk.create_bulk_action(
        order, Filter() if selected is None else selected, at=timezone.now(), description="all emails", **more
    )


def done(order):
    return bulk.process_batches(order, seconds=60)


def exported(answer):
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_all_that_match_are_taken_oldest_first_and_the_others_are_left_out(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 2)
    mails = [discarded() for _ in range(5)]
    possible_duplicate, refused = discarded(possible_duplicate=True), discarded(failure_class=FailureClass.MESSAGE)
    queued = a_mail()

    order = done(asked())

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


def test_what_is_asked_for_is_taken_along():
    discarded(possible_duplicate=True)
    discarded(failure_class=FailureClass.MESSAGE)

    assert done(asked(included=["uncertain"])).done == 1
    assert done(asked(included=["refused"])).done == 1


def test_an_unknown_outcome_stays_out_even_if_it_is_ticked():
    mail = discarded(status=Status.HELD, reason_code=HoldReason.UNKNOWN, possible_duplicate=True)

    order = done(asked(selected=[mail.pk], included=["uncertain", "refused"]))

    assert (order.done, order.skipped) == (0, {"the outcome is unknown: resolve it first": 1})
    assert reloaded(mail).status == Status.HELD


def unknown(account, **changes):
    """A mail that `account` may have sent, and that must not be sent twice."""
    account.lose_answer()
    mail = a_mail(delivery_guarantee="at-most-once", **changes)
    dispatch()
    return reloaded(mail)


@pytest.mark.parametrize(
    ("action", "status", "events", "told"),
    [
        (Action.SENT, Status.DONE, ["RESOLVED", "DONE"], "2 resolved, 1 skipped."),
        (Action.NOT_SENT, Status.QUEUED, ["RESOLVED"], "2 queued, 1 skipped."),
    ],
)
def test_unknown_outcomes_are_settled_and_the_others_are_left_out(action, status, events, told, olympus):
    mails = [unknown(olympus), unknown(olympus)]
    held = a_mail()
    Mail.objects.filter(pk=held.pk).update(status=Status.HELD, reason_code=HoldReason.OPERATOR, next_attempt_at=None)

    order = done(asked(action))

    assert bulk.describe_progress(order) == told
    assert order.skipped == {"on hold": 1}
    assert {reloaded(mail).status for mail in mails} == {status}
    for mail in mails:
        assert event_names(mail)[-len(events) :] == events
        assert mail.events.get(event="RESOLVED").created_by == "user:hermes"
    assert reloaded(held).status == Status.HELD


@pytest.mark.parametrize("action", [Action.SENT, Action.NOT_SENT])
@pytest.mark.parametrize("selected_ids", [False, True])
def test_an_outcome_that_became_unknown_after_the_question_is_not_settled(action, selected_ids, olympus):
    mail = a_mail(delivery_guarantee="at-most-once")
    order = asked(action, [mail.pk] if selected_ids else None)
    olympus.lose_answer()
    dispatch()

    assert done(order).done == 0
    assert reloaded(mail).reason_code == HoldReason.UNKNOWN


def test_what_comes_in_after_the_question_is_not_meant():
    discarded()
    order = asked()
    later = discarded()
    BulkAction.objects.update(requested_at=later.created_at - dt.timedelta(seconds=1))
    Mail.objects.filter(pk=later.pk).update(subject="Later")

    assert done(BulkAction.objects.get(pk=order.pk)).done == 0


def test_two_processes_do_no_mail_twice(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 1)
    mails = [discarded(), discarded()]
    as_both_read_it = asked()

    bulk._process_batch(as_both_read_it)
    bulk._process_batch(as_both_read_it)

    order = BulkAction.objects.get()
    assert (order.done, order.batches) == (1, 1)
    assert done(order).done == 2
    assert [event_names(mail).count("REPROCESS") for mail in mails] == [1, 1]


def test_a_batch_that_fails_leaves_no_trace_and_is_done_again(monkeypatch):
    mail, order = discarded(), asked()
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "Counter", lambda _counts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bulk.run()
    assert (reloaded(mail).status, BulkAction.objects.get().batches) == (Status.DISCARDED, 0)

    bulk.run()

    assert BulkAction.objects.get(pk=order.pk).done == 1


def test_an_order_is_stopped_between_two_batches(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 1)
    discarded()
    discarded()
    order = asked()
    bulk._process_batch(order)

    assert bulk.stop(order.pk, by="user:iris")
    assert not bulk.run()
    assert not bulk.stop(order.pk, by="user:iris")

    order = BulkAction.objects.get()
    assert (order.done, order.stopped_by) == (1, "user:iris")


def test_the_drain_that_has_the_duty_works_orders_off_without_redis(monkeypatch, settings):
    settings.REDIS_URL = ""
    woken = []
    monkeypatch.setattr(wake, "wake_local", lambda: woken.append("woken"))
    mail, order = discarded(), asked()

    for _ in range(2):  # the first makes the duty's row
        scheduler.run_tasks("worker")

    assert BulkAction.objects.get(pk=order.pk).finished_at
    assert reloaded(mail).status == Status.QUEUED
    assert woken


def test_waiting_mails_are_due_at_once_and_go_on_as_they_stand(olympus):
    mail = a_mail()
    in_an_hour = timezone.now() + dt.timedelta(hours=1)
    Mail.objects.update(status=Status.WAITING, next_attempt_at=in_an_hour, round=3)
    assert dispatch() == 0

    done(asked(Action.RETRY))

    assert (reloaded(mail).status, reloaded(mail).round) == (Status.QUEUED, 3)
    assert "Retry requested" in browser_of(hermes()).get(f"{MAILS}{mail.pk}/change/").text
    assert dispatch() == 1


@pytest.mark.parametrize("action", [Action.HOLD, Action.CANCEL])
def test_mails_are_held_released_and_cancelled(action):
    mail, other = a_mail(), a_mail(recipient=IRIS)

    done(asked(action, Filter(q="to:hera")))

    stopped = {Action.HOLD: Status.HELD, Action.CANCEL: Status.CANCELLED}[action]
    assert (reloaded(mail).status, reloaded(other).status) == (stopped, Status.QUEUED)
    if action == Action.HOLD:
        assert done(asked(Action.RELEASE)).done == 1
        assert reloaded(mail).status == Status.QUEUED


def test_the_page_says_first_what_it_will_do_then_does_it_and_keeps_who_and_why(operator, olympus):
    mails = [discarded(), discarded()]
    discarded(possible_duplicate=True)
    url = f"{MAILS}bulk/?action=reprocess&scope=all&state=discarded"

    page = operator.get(url).text

    assert "Reprocess 2 emails?" in page
    assert "Discarded: http-503" in page
    assert "1 of 1 accounts available" in page
    assert "<strong>1 skipped:</strong> it may have been sent already." in page
    assert {reloaded(mail).status for mail in mails} == {Status.DISCARDED}
    assert "Reprocess 3 emails?" in operator.get(f"{url}&included=uncertain").text
    told = operator.post(url, {"note": "Mended"}, follow=True).text
    assert "2 queued, 1 skipped." in told
    assert "Started by hermes " in told
    assert "Mended" in told
    assert "poller" not in told
    assert {reloaded(mail).status for mail in mails} == {Status.QUEUED}
    listed = operator.get(reverse("admin:mails_bulkaction_changelist")).text
    assert "Reprocess: Discarded" in listed
    assert "user:hermes" not in told + listed


def test_many_mails_are_sent_anew_through_the_accounts_that_are_chosen(operator, olympus, hades):
    hades.disable()
    mails = [a_mail(), a_mail()]
    olympus.refuse(400)
    dispatch()
    hades.enable()
    url = f"{MAILS}bulk/?action=reprocess&scope=all&state=discarded"

    looked = operator.post(url, {"account_choice": "not-tried", "look": "1"}, follow=True)
    there = looked.redirect_chain[0][0]
    reason = operator.post(url, {"account_choice": "not-tried", "note": "hades is back"}, follow=True)
    told = operator.post(there, {"account_choice": "not-tried", "note": "hades is back"}, follow=True).text

    assert 'value="hades is back"' in reason.text
    assert there == f"{url}&account_choice=not-tried"
    assert "may succeed: not yet tried with hades" in looked.text
    assert "Pace: as fast as the accounts&#x27; limits allow." in looked.text
    assert "Reprocess: no eligible email" in operator.get(url).text
    assert "They start over, only through accounts not tried yet." in told
    assert "2 queued, 0 skipped." in told
    assert dispatch() == 2
    assert len(hades.inbox()) == 2
    assert {mail.events.get(event="REPROCESS").created_by for mail in mails} == {"user:hermes"}


def test_those_that_every_account_was_tried_for_are_left_out_with_the_reason(operator, olympus, hades):
    hades.disable()
    tried_by_all = a_mail()
    olympus.refuse(400)
    dispatch()
    hades.enable()
    untried = discarded()
    hades.disable()
    url = f"{MAILS}bulk/?action=reprocess&scope=all&state=discarded&account_choice=not-tried"

    page = operator.get(url).text
    order = done(asked(account_choice=AccountChoice(not_tried=True)))

    assert "<strong>1 skipped:</strong> every available account was already tried." in page
    assert "1 of 1 untried accounts available" in page
    assert order.skipped == {"every available account was already tried": 1}
    assert (reloaded(tried_by_all).status, reloaded(untried).status) == (Status.DISCARDED, Status.QUEUED)


def test_an_order_in_the_background_keeps_its_choice_of_accounts(operator, olympus, hades, monkeypatch):
    monkeypatch.setattr("mails.admin.bulk.AT_ONCE", 1)
    mails = [discarded(), discarded()]
    url = f"{MAILS}bulk/?action=reprocess&scope=all&account_choice=via&via=hades"

    told = operator.post(url, {"account_choice": "via", "via": "hades"}, follow=True).text
    bulk.run()

    assert "They start over, through hades only." in told
    assert [reloaded(mail).routing_constraint for mail in mails] == [{"via": "hades"}] * 2
    assert dispatch() == 2
    assert len(hades.inbox()) == 2


def test_ticked_mails_alone_are_taken(operator, olympus):
    mail, other = discarded(), discarded()
    url = f"{MAILS}bulk/?action=reprocess&mail={mail.pk}&mail=zeus"

    operator.post(url)

    assert (reloaded(mail).status, reloaded(other).status) == (Status.QUEUED, Status.DISCARDED)


def test_the_page_says_whom_to_ask_before_it_settles_anything(operator, olympus):
    mails = [unknown(olympus), unknown(olympus)]
    url = f"{MAILS}bulk/?scope=all&state=unknown"

    sent, not_sent = operator.get(f"{url}&action=sent").text, operator.get(f"{url}&action=not-sent").text

    assert "Mark 2 emails as sent?" in sent
    assert "Held: outcome-unknown, last sent to olympus" in sent
    assert "marked as sent; nothing is sent" in sent
    assert "Mark 2 emails as not sent?" in not_sent
    assert "will be sent, a duplicate if olympus already sent it; 1 of 1 accounts available" in not_sent
    assert {reloaded(mail).status for mail in mails} == {Status.HELD}
    told = operator.post(f"{url}&action=sent", {"note": "In its log"}, follow=True).text
    assert "2 resolved, 0 skipped." in told
    assert "In its log" in told
    assert {reloaded(mail).status for mail in mails} == {Status.DONE}


def test_the_way_to_settle_is_shown_where_unknown_outcomes_are(operator, olympus):
    mail = unknown(olympus)
    query = f"?scope=ticked&mail={mail.pk}"

    page = operator.get(f"{MAILS}bulk/{query}&action=reprocess&account_choice=not-tried&included=uncertain").text

    for verb in ("sent", "not-sent"):
        there = f"{MAILS}bulk/{query}&action={verb}"
        assert there.replace("&", "&amp;") in page
        assert "Mark 1 email as" in operator.get(there).text
    assert f"{MAILS}?state=unknown" in operator.get("/admin/").text
    assert 'value="sent" selected' in operator.get(f"{MAILS}?state=unknown").text
    assert 'value="reprocess" selected' in operator.get(MAILS).text


def test_nothing_ticked_leads_back_with_a_word(operator):
    mail = a_mail()

    answer = operator.post(f"{MAILS}bulk/?action=cancel&queue=text", follow=True)

    assert answer.redirect_chain == [(f"{MAILS}?queue=text", 302)]
    assert "No email is selected." in answer.text
    assert reloaded(mail).status == Status.QUEUED


def test_what_cannot_be_taken_says_why(operator, olympus):
    mail = a_mail()
    dispatch()

    page = operator.get(f"{MAILS}bulk/?action=cancel&mail={mail.pk}").text

    assert "Cancel: no eligible email" in page
    assert "<strong>1 skipped:</strong> sent." in page
    assert 'button class="button primary' not in page


def test_many_mails_are_done_in_the_background_with_progress(operator, olympus, monkeypatch):
    monkeypatch.setattr("mails.admin.bulk.AT_ONCE", 1)
    mails = [discarded(), discarded()]
    url = f"{MAILS}bulk/?action=reprocess&scope=all"

    asking = operator.get(url).text
    told = operator.post(url, follow=True).text
    order = BulkAction.objects.get()
    news = reverse("admin:mails_bulkaction_news", args=[order.pk])

    assert "runs in the background" in asking
    assert "0 of 2 emails processed" in told
    assert {reloaded(mail).status for mail in mails} == {Status.DISCARDED}
    assert operator.get(f"{news}?batches=0").status_code == 204
    assert bulk.run()
    last = operator.get(f"{news}?batches=0").text
    assert "2 queued, 0 skipped." in last
    assert "poller" not in last


def test_very_many_mails_are_not_all_looked_at_before_the_question(operator, olympus, monkeypatch):
    monkeypatch.setattr("mails.admin.bulk.LOOKED_AT", 1)
    for _ in range(3):
        discarded()
    url = f"{MAILS}bulk/?action=reprocess&scope=all"

    assert "Reprocess more than 1 emails?" in operator.get(url).text
    operator.post(url)

    assert done(BulkAction.objects.get()).done == 3


@pytest.mark.parametrize("query", ["action=fly&scope=all", "scope=all"])
def test_what_is_not_for_many_is_a_404(operator, query):
    assert operator.get(f"{MAILS}bulk/?{query}").status_code == 404


@pytest.mark.parametrize("value", ["zeus", "9" * 40, "%00", "id:zeus"])
def test_no_selection_breaks_the_pages(operator, value):
    a_mail()

    for name in ("state", "app", "age", "q", "mail", "included", "account_choice", "account_choice=via&via"):
        for url in (f"bulk/?action=reprocess&scope=all&{name}={value}", f"export/?scope=all&{name}={value}"):
            assert operator.get(f"{MAILS}{url}").status_code in (200, 302), url


def test_a_filter_that_fits_nothing_takes_nothing(operator):
    mail = a_mail()

    for query in ("state=zeus", "app=zeus", "age=zeus", "queue=zeus", "account=zeus"):
        operator.post(f"{MAILS}bulk/?action=cancel&scope=all&{query}")

    assert reloaded(mail).status == Status.QUEUED


def test_who_may_only_look_exports_and_does_nothing():
    user = zeus()
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_mail"))
    mail, browser = a_mail(), browser_of(user)
    order = asked(Action.CANCEL)

    assert "Apply to selected" not in browser.get(MAILS).text
    assert browser.post(f"{MAILS}bulk/?action=cancel&scope=all").status_code == 403
    assert browser.post(reverse("admin:mails_bulkaction_stop", args=[order.pk])).status_code == 403
    assert browser.get(reverse("admin:mails_bulkaction_change", args=[order.pk])).status_code == 200
    assert len(exported(browser.get(f"{MAILS}export/?scope=all"))) == 1
    user.user_permissions.clear()
    assert browser.get(f"{MAILS}export/?scope=all").status_code == 403
    assert reloaded(mail).status == Status.QUEUED


def test_the_export_has_what_the_filter_finds_and_no_text(operator, monkeypatch):
    monkeypatch.setattr(export, "CHUNK", 2)
    mails = [a_mail(subject=f"Mail {number}", content="Secret words") for number in range(5)]
    a_mail(recipient=IRIS)

    answer = operator.get(f"{MAILS}export/?scope=all&q=to:hera")
    rows = exported(answer)

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["id"] for row in rows] == [str(mail.pk) for mail in reversed(mails)]
    assert tuple(rows[0]) == export.COLUMNS
    assert "Secret" not in str(rows)
    selected_ids = operator.get(f"{MAILS}export/?mail={mails[2].pk}")
    assert [row["subject"] for row in exported(selected_ids)] == ["Mail 2"]


@pytest.mark.parametrize(
    ("subject", "cell"),
    [
        *((f"{first}1+1", f"'{first}1+1") for first in "=+-@＝＋－＠"),
        (" =1+1", " '=1+1"),
        ("Hi; =1+1", "Hi; '=1+1"),
        ("Hi;@1", "Hi;'@1"),
        ("Hi\r\n=1+1", "Hi\ufffd =1+1"),
        ("\t=1+1", " '=1+1"),
        ("Hi \u202e=1", "Hi \ufffd=1"),
        ("1+1=2; a-b", "1+1=2; a-b"),
    ],
)
def test_no_cell_is_a_formula_in_any_language_of_a_spreadsheet(operator, subject, cell):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(subject=subject)

    [row] = exported(operator.get(f"{MAILS}export/?scope=all"))

    assert row["subject"] == cell
    assert row["to"] == mail.recipient


def test_the_moment_of_the_page_is_the_database_s_whatever_the_clock_of_the_web_host(operator, olympus, monkeypatch):
    a_mail()
    ahead = timezone.now() + dt.timedelta(hours=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: ahead)

    page = operator.get(f"{MAILS}bulk/?action=cancel&scope=all").text

    seen = dt.datetime.fromisoformat(re.search(r'name="at" value="([^"]+)"', html.unescape(page))[1])
    assert abs(seen - database_clock.now()) < dt.timedelta(minutes=1)


def test_the_page_of_a_stopped_order_names_who_stopped_it(operator):
    order = asked()
    operator.post(reverse("admin:mails_bulkaction_stop", args=[order.pk]))

    assert "Stopped by hermes." in operator.get(reverse("admin:mails_bulkaction_change", args=[order.pk])).text
