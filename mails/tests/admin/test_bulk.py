"""Bulk actions in the admin: a page shows the effect first, then does it, then shows the result; and the export as CSV."""

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
from mails.lifecycle.action_requests import AccountChoice
from mails.models import BulkAction, Mail
from mails.states import Action, Status
from mails.tests.actions.builders import create_bulk_action, create_discarded, create_unknown, process
from mails.tests.builders import IRIS, a_mail, dispatch, reloaded
from mails.tests.people import browser_of, hermes, zeus
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)
MAILS = "/admin/mails/mail/"


def read_export(answer):
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_deferred_emails_are_retried_now_and_nothing_else_changes(olympus):
    mail = a_mail()
    in_an_hour = timezone.now() + dt.timedelta(hours=1)
    Mail.objects.update(status=Status.WAITING, next_attempt_at=in_an_hour, round=3)
    assert dispatch() == 0

    process(create_bulk_action(Action.RETRY))

    assert (reloaded(mail).status, reloaded(mail).round) == (Status.QUEUED, 3)
    assert "Retry requested" in browser_of(hermes()).get(f"{MAILS}{mail.pk}/change/").text
    assert dispatch() == 1


def test_scheduled_emails_are_rescheduled_together(operator, olympus):
    day = database_clock.now() + dt.timedelta(days=2)
    mails = [a_mail(send_at=day.isoformat()), a_mail(send_at=day.isoformat())]
    url = f"{MAILS}bulk/?action=reschedule&scope=all&state=scheduled"

    page = operator.get(url).text
    shown = operator.post(url, {"send_at": f"{day:%Y-%m-%d}T00:30", "time_zone": "UTC"}, follow=True).text

    assert "Reschedule 2 emails?" in page
    assert "sent at the new time" in page
    assert "2 rescheduled, 0 skipped." in shown
    assert {reloaded(mail).next_attempt_at for mail in mails} == {
        day.replace(hour=0, minute=30, second=0, microsecond=0)
    }


def test_the_page_says_first_what_it_will_do_then_does_it_and_keeps_who_and_why(operator, olympus):
    mails = [create_discarded(), create_discarded()]
    create_discarded(possible_duplicate=True)
    url = f"{MAILS}bulk/?action=reprocess&scope=all&state=discarded"

    page = operator.get(url).text

    assert "Reprocess 2 emails?" in page
    assert "Discarded: http-503" in page
    assert "1 of 1 accounts available" in page
    assert "<strong>1 skipped:</strong> it may have been sent already." in page
    assert {reloaded(mail).status for mail in mails} == {Status.DISCARDED}
    assert "Reprocess 3 emails?" in operator.get(f"{url}&included=uncertain").text
    shown_page = operator.post(url, {"note": "Repaired"}, follow=True).text
    assert "2 queued, 1 skipped." in shown_page
    assert "Started by hermes " in shown_page
    assert "Repaired" in shown_page
    assert "poller" not in shown_page
    assert {reloaded(mail).status for mail in mails} == {Status.QUEUED}
    listed = operator.get(reverse("admin:mails_bulkaction_changelist")).text
    assert "Reprocess: Discarded" in listed
    assert "user:hermes" not in shown_page + listed


def test_many_emails_are_reprocessed_through_the_selected_accounts(operator, olympus, hades):
    hades.disable()
    mails = [a_mail(), a_mail()]
    olympus.refuse(400)
    dispatch()
    hades.enable()
    url = f"{MAILS}bulk/?action=reprocess&scope=all&state=discarded"

    looked = operator.post(url, {"account_choice": "not-tried", "look": "1"}, follow=True)
    there = looked.redirect_chain[0][0]
    reason = operator.post(url, {"account_choice": "not-tried", "note": "hades is back"}, follow=True)
    page = operator.post(there, {"account_choice": "not-tried", "note": "hades is back"}, follow=True).text

    assert 'value="hades is back"' in reason.text
    assert there == f"{url}&account_choice=not-tried"
    assert "may succeed: not yet tried with hades" in looked.text
    assert "Pace: as fast as the accounts&#x27; limits allow." in looked.text
    assert "Reprocess: no eligible email" in operator.get(url).text
    assert "They start over, only through accounts not tried yet." in page
    assert "2 queued, 0 skipped." in page
    assert dispatch() == 2
    assert len(hades.inbox()) == 2
    assert {mail.events.get(event="REPROCESS").created_by for mail in mails} == {"user:hermes"}


def test_many_emails_are_reprocessed_at_a_time(operator, olympus):
    day = database_clock.now() + dt.timedelta(days=2)
    mails = [create_discarded(), create_discarded()]
    url = f"{MAILS}bulk/?action=reprocess&scope=all&state=discarded"
    typed = {"send_at": f"{day:%Y-%m-%d}T00:30", "time_zone": "UTC", "account_choice": "via", "via": "olympus"}

    looked = operator.post(url, typed, follow=True)
    shown = operator.post(looked.redirect_chain[0][0], typed, follow=True).text

    assert f'value="{typed["send_at"]}"' in looked.text
    assert "2 queued, 0 skipped." in shown
    due = day.replace(hour=0, minute=30, second=0, microsecond=0)
    assert {(reloaded(mail).next_attempt_at, reloaded(mail).send_at) for mail in mails} == {(due, due)}


def test_emails_without_an_untried_account_are_skipped_with_the_reason(operator, olympus, hades):
    hades.disable()
    tried_by_all = a_mail()
    olympus.refuse(400)
    dispatch()
    hades.enable()
    untried = create_discarded()
    hades.disable()
    url = f"{MAILS}bulk/?action=reprocess&scope=all&state=discarded&account_choice=not-tried"

    page = operator.get(url).text
    order = process(create_bulk_action(account_choice=AccountChoice(not_tried=True)))

    assert "<strong>1 skipped:</strong> every available account was already tried." in page
    assert "1 of 1 untried accounts available" in page
    assert order.skipped == {"every available account was already tried": 1}
    assert (reloaded(tried_by_all).status, reloaded(untried).status) == (Status.DISCARDED, Status.QUEUED)


def test_a_bulk_action_in_the_background_keeps_its_choice_of_accounts(operator, olympus, hades, monkeypatch):
    monkeypatch.setattr("mails.admin.bulk.AT_ONCE", 1)
    mails = [create_discarded(), create_discarded()]
    url = f"{MAILS}bulk/?action=reprocess&scope=all&account_choice=via&via=hades"

    page = operator.post(url, {"account_choice": "via", "via": "hades"}, follow=True).text
    bulk.run()

    assert "They start over, through hades only." in page
    assert [reloaded(mail).routing_constraint for mail in mails] == [{"via": "hades"}] * 2
    assert dispatch() == 2
    assert len(hades.inbox()) == 2


def test_only_selected_emails_are_processed(operator, olympus):
    mail, other = create_discarded(), create_discarded()
    url = f"{MAILS}bulk/?action=reprocess&mail={mail.pk}&mail=zeus"

    operator.post(url)

    assert (reloaded(mail).status, reloaded(other).status) == (Status.QUEUED, Status.DISCARDED)


def test_the_page_says_to_check_with_the_provider_before_it_resolves_anything(operator, olympus):
    mails = [create_unknown(olympus), create_unknown(olympus)]
    url = f"{MAILS}bulk/?scope=all&state=unknown"

    sent, not_sent = operator.get(f"{url}&action=sent").text, operator.get(f"{url}&action=not-sent").text

    assert "Mark 2 emails as sent?" in sent
    assert "Held: outcome-unknown, last sent to olympus" in sent
    assert "marked as sent; nothing is sent" in sent
    assert "Mark 2 emails as not sent?" in not_sent
    assert "will be sent, a duplicate if olympus already sent it; 1 of 1 accounts available" in not_sent
    assert {reloaded(mail).status for mail in mails} == {Status.HELD}
    page = operator.post(f"{url}&action=sent", {"note": "In its log"}, follow=True).text
    assert "2 resolved, 0 skipped." in page
    assert "In its log" in page
    assert {reloaded(mail).status for mail in mails} == {Status.DONE}


def test_the_way_to_resolve_is_shown_with_unknown_outcomes(operator, olympus):
    mail = create_unknown(olympus)
    query = f"?scope=ticked&mail={mail.pk}"

    page = operator.get(f"{MAILS}bulk/{query}&action=reprocess&account_choice=not-tried&included=uncertain").text

    for verb in ("sent", "not-sent"):
        there = f"{MAILS}bulk/{query}&action={verb}"
        assert there.replace("&", "&amp;") in page
        assert "Mark 1 email as" in operator.get(there).text
    assert f"{MAILS}?state=unknown" in operator.get("/admin/").text
    assert 'value="sent" selected' in operator.get(f"{MAILS}?state=unknown").text
    assert 'value="reprocess" selected' in operator.get(MAILS).text


def test_an_empty_selection_leads_back_with_a_message(operator):
    mail = a_mail()

    answer = operator.post(f"{MAILS}bulk/?action=cancel&queue=text", follow=True)

    assert answer.redirect_chain == [(f"{MAILS}?queue=text", 302)]
    assert "No email is selected." in answer.text
    assert reloaded(mail).status == Status.QUEUED


def test_the_page_says_why_no_email_is_eligible(operator, olympus):
    mail = a_mail()
    dispatch()

    page = operator.get(f"{MAILS}bulk/?action=cancel&mail={mail.pk}").text

    assert "Cancel: no eligible email" in page
    assert "<strong>1 skipped:</strong> sent." in page
    assert 'button class="button primary' not in page


def test_many_emails_are_processed_in_the_background_with_progress(operator, olympus, monkeypatch):
    monkeypatch.setattr("mails.admin.bulk.AT_ONCE", 1)
    mails = [create_discarded(), create_discarded()]
    url = f"{MAILS}bulk/?action=reprocess&scope=all"

    asking = operator.get(url).text
    page = operator.post(url, follow=True).text
    order = BulkAction.objects.get()
    news = reverse("admin:mails_bulkaction_news", args=[order.pk])

    assert "runs in the background" in asking
    assert "0 of 2 emails processed" in page
    assert {reloaded(mail).status for mail in mails} == {Status.DISCARDED}
    assert operator.get(f"{news}?batches=0").status_code == 204
    assert bulk.run()
    last = operator.get(f"{news}?batches=0").text
    assert "2 queued, 0 skipped." in last
    assert "poller" not in last


def test_the_page_checks_only_some_of_very_many_emails(operator, olympus, monkeypatch):
    monkeypatch.setattr("mails.admin.bulk.LOOKED_AT", 1)
    for _ in range(3):
        create_discarded()
    url = f"{MAILS}bulk/?action=reprocess&scope=all"

    assert "Reprocess more than 1 emails?" in operator.get(url).text
    operator.post(url)

    assert process(BulkAction.objects.get()).done == 3


@pytest.mark.parametrize("query", ["action=fly&scope=all", "scope=all"])
def test_an_action_for_one_email_only_is_a_404(operator, query):
    assert operator.get(f"{MAILS}bulk/?{query}").status_code == 404


@pytest.mark.parametrize("value", ["zeus", "9" * 40, "%00", "id:zeus"])
def test_no_selection_breaks_the_pages(operator, value):
    a_mail()

    for name in ("state", "app", "age", "q", "mail", "included", "account_choice", "account_choice=via&via"):
        for url in (f"bulk/?action=reprocess&scope=all&{name}={value}", f"export/?scope=all&{name}={value}"):
            assert operator.get(f"{MAILS}{url}").status_code in (200, 302), url


def test_a_filter_without_matches_changes_nothing(operator):
    mail = a_mail()

    for query in ("state=zeus", "app=zeus", "age=zeus", "queue=zeus", "account=zeus"):
        operator.post(f"{MAILS}bulk/?action=cancel&scope=all&{query}")

    assert reloaded(mail).status == Status.QUEUED


def test_a_viewer_may_export_and_nothing_else():
    user = zeus()
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_mail"))
    mail, browser = a_mail(), browser_of(user)
    order = create_bulk_action(Action.CANCEL)

    assert "Apply to selected" not in browser.get(MAILS).text
    assert browser.post(f"{MAILS}bulk/?action=cancel&scope=all").status_code == 403
    assert browser.post(reverse("admin:mails_bulkaction_stop", args=[order.pk])).status_code == 403
    assert browser.get(reverse("admin:mails_bulkaction_change", args=[order.pk])).status_code == 200
    assert len(read_export(browser.get(f"{MAILS}export/?scope=all"))) == 1
    user.user_permissions.clear()
    assert browser.get(f"{MAILS}export/?scope=all").status_code == 403
    assert reloaded(mail).status == Status.QUEUED


def test_the_export_has_the_matching_emails_without_bodies(operator, monkeypatch):
    monkeypatch.setattr(export, "CHUNK", 2)
    mails = [a_mail(subject=f"Mail {number}", content="Secret words") for number in range(5)]
    a_mail(recipient=IRIS)

    answer = operator.get(f"{MAILS}export/?scope=all&q=to:hera")
    rows = read_export(answer)

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["id"] for row in rows] == [str(mail.pk) for mail in reversed(mails)]
    assert tuple(rows[0]) == export.COLUMNS
    assert "Secret" not in str(rows)
    selected_ids = operator.get(f"{MAILS}export/?mail={mails[2].pk}")
    assert [row["subject"] for row in read_export(selected_ids)] == ["Mail 2"]


def test_the_export_has_the_tags_of_an_email_and_not_its_metadata(operator, monkeypatch):
    monkeypatch.setattr(export, "CHUNK", 1)
    a_mail(tags=["law", "crown"], metadata={"order": "17"})
    a_mail()

    rows = read_export(operator.get(f"{MAILS}export/?scope=all"))

    assert [row["tags"] for row in rows] == ["", "law crown"]


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

    [row] = read_export(operator.get(f"{MAILS}export/?scope=all"))

    assert row["subject"] == cell
    assert row["to"] == mail.recipient


def test_the_time_of_the_page_is_the_databases_whatever_the_clock_of_the_web_host(operator, olympus, monkeypatch):
    a_mail()
    ahead = timezone.now() + dt.timedelta(hours=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: ahead)

    page = operator.get(f"{MAILS}bulk/?action=cancel&scope=all").text

    seen = dt.datetime.fromisoformat(re.search(r'name="at" value="([^"]+)"', html.unescape(page))[1])
    assert abs(seen - database_clock.now()) < dt.timedelta(minutes=1)


def test_the_page_of_a_stopped_bulk_action_names_who_stopped_it(operator):
    order = create_bulk_action()
    operator.post(reverse("admin:mails_bulkaction_stop", args=[order.pk]))

    assert "Stopped by hermes." in operator.get(reverse("admin:mails_bulkaction_change", args=[order.pk])).text
