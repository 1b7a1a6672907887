"""Actions on emails in the browser: only possible ones are offered, and nothing happens without a confirmation."""

import datetime as dt

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from mails import pauses
from mails.intake.client import Client
from mails.lifecycle import action_execution
from mails.maintenance import retention
from mails.models import Mail, Recipient
from mails.states import Action, RecipientState, Source, Status
from mails.tests.builders import HERA, IRIS, a_mail, dispatch, event_names, reloaded
from mails.tests.callers import caller
from mails.tests.lifecycle.support import CallsInProgress, read_last_blob
from mails.tests.people import browser_of, zeus
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def page_of(mail):
    return reverse("admin:mails_mail_change", args=[mail.pk])


def action(mail, verb):
    return reverse("admin:mails_mail_action", args=[mail.pk, verb])


def offered(browser, mail):
    text = browser.get(page_of(mail)).content.decode()
    return [choice.value for choice in Action if action(mail, choice) in text]


def test_only_what_is_possible_now_is_offered(operator, olympus):
    mail = a_mail()

    assert offered(operator, mail) == ["cancel", "hold", "reschedule"]
    dispatch()
    assert offered(operator, mail) == []
    assert f'href="/?copy={mail.pk}"' in operator.get(page_of(mail)).text


def test_an_action_says_first_what_it_will_do_and_then_what_happened(operator):
    mail = a_mail()

    asked = operator.get(action(mail, "cancel"))

    assert "This cannot be undone" in asked.content.decode()
    assert reloaded(mail).status == Status.QUEUED
    done = operator.post(action(mail, "cancel"), {"note": "Hera has moved"}, follow=True)
    assert "The email is cancelled. It will not be sent." in done.content.decode()
    assert "Hera has moved" in done.content.decode()
    assert mail.events.last().created_by == "user:hermes"


def test_too_late_leads_back_with_the_reason(operator, olympus):
    mail = a_mail()
    dispatch()

    for answer in (operator.get(action(mail, "hold"), follow=True), operator.post(action(mail, "hold"), follow=True)):
        assert answer.redirect_chain == [(page_of(mail), 302)]
        assert "The email is sent, so it cannot be held." in answer.content.decode()


def test_a_reason_that_cannot_be_kept_does_nothing(operator):
    mail = a_mail()

    answer = operator.post(action(mail, "cancel"), {"note": "x" * 501})

    assert answer.status_code == 400
    assert "Nothing was changed" in answer.content.decode()
    assert reloaded(mail).status == Status.QUEUED


def test_a_call_under_way_is_named(operator, olympus):
    mail = a_mail()
    CallsInProgress()

    asked = operator.get(action(mail, "cancel")).content.decode()
    done = operator.post(action(mail, "cancel"), follow=True).content.decode()

    assert "A request to olympus is in progress and cannot be stopped." in asked
    assert "it is cancelled when the request ends" in done
    assert offered(operator, mail) == ["hold", "release"]


def test_an_email_is_rescheduled_in_the_zone_that_was_chosen(operator, olympus):
    mail = a_mail()
    day = database_clock.now() + dt.timedelta(days=2)
    typed = {"send_at": f"{day:%Y-%m-%d}T12:00", "time_zone": "Asia/Tokyo", "note": "After breakfast"}

    page = operator.get(action(mail, "reschedule")).text
    shown = operator.post(action(mail, "reschedule"), typed, follow=True).text

    assert "The email is sent at the time below instead of" in page
    assert f"The email is sent at {day:%Y-%m-%d} 03:00 UTC." in shown
    assert "Scheduled: to be sent at" in shown
    assert reloaded(mail).send_at == day.replace(hour=3, minute=0, second=0, microsecond=0)


def test_a_time_that_is_refused_is_shown_again_with_the_reason(operator, olympus):
    mail = a_mail()

    answer = operator.post(action(mail, "reschedule"), {"send_at": "2016-11-06T18:00", "time_zone": "Asia/Tokyo"})

    assert answer.status_code == 400
    assert "Send at: 2016-11-06 09:00 UTC is past" in answer.text
    assert 'value="2016-11-06T18:00"' in answer.text
    assert "<option selected>Asia/Tokyo</option>" in answer.text
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]


def test_an_unknown_outcome_has_three_ways_out(operator, olympus, hades):
    olympus.lose_answer()
    hades.disable()
    mail = a_mail(delivery_guarantee="at-most-once")
    dispatch()

    text = operator.get(page_of(mail)).content.decode()

    assert "It may have been sent." in text
    assert offered(operator, mail) == ["cancel", "sent", "not-sent"]
    operator.post(action(mail, "sent"), {"note": "it has the Message-ID"})
    assert event_names(mail)[-2:] == ["RESOLVED", "DONE"]
    assert "It may have been sent." not in operator.get(page_of(mail)).content.decode()


def test_who_may_only_look_is_offered_nothing(olympus):
    user = zeus()
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_mail"))
    mail = a_mail()

    assert offered(browser_of(user), mail) == []
    assert browser_of(user).post(action(mail, "cancel")).status_code == 403
    assert browser_of(user).post(reverse("sending", args=["pause"])).status_code == 403
    assert browser_of(user).post(reverse("queue", args=["text", "pause"])).status_code == 403
    assert reverse("queue", args=["text", "pause"]) not in browser_of(user).get(reverse("admin:index")).content.decode()
    assert reloaded(mail).status == Status.QUEUED


@pytest.mark.parametrize("path", ["fly", "change"])
def test_an_action_that_does_not_exist_is_a_404(operator, path):
    assert operator.get(action(a_mail(), path)).status_code == 404


def test_a_person_cancels_a_mail_of_their_own(olympus):
    user = zeus()
    own = a_mail(Client(source=Source.FORM, user=user))
    other = a_mail()
    browser = browser_of(user)

    text = browser.get(reverse("mail", args=[own.pk])).content.decode()
    url = reverse("mail-cancel", args=[own.pk])

    assert url in text
    assert "Cancel this email?" in browser.get(url).content.decode()
    assert reloaded(own).status == Status.QUEUED
    done = browser.post(url, follow=True).content.decode()
    assert "The email is cancelled." in done
    assert url not in done
    assert own.events.last().created_by == "user:zeus"
    assert browser.post(reverse("mail-cancel", args=[other.pk])).status_code == 404
    for answer in (browser.get(url, follow=True), browser.post(url, follow=True)):
        assert answer.status_code == 200


def test_the_news_of_a_mail_replace_its_actions(operator, olympus):
    mail = a_mail()
    path = reverse("mail-timeline", args=[mail.pk]) + "?after=0&status=queued&reasons"

    assert action(mail, "cancel") in operator.get(path).content.decode()
    dispatch()
    assert action(mail, "cancel") not in operator.get(path).content.decode()


def test_sending_is_paused_and_resumed_from_the_overview(operator, olympus):
    mail = a_mail()
    pause, resume = reverse("sending", args=["pause"]), reverse("sending", args=["resume"])

    assert pause in operator.get(reverse("admin:index")).content.decode()
    assert "No email is sent, on any machine, until someone resumes sending." in operator.get(pause).content.decode()
    assert pauses.load_active().all_sending is None
    operator.post(pause, {"note": "wrong template"})

    overview = operator.get(reverse("admin:index")).content.decode()
    assert "Sending is paused by hermes" in overview
    assert "wrong template" in overview
    assert "Sending is paused." in operator.get(page_of(mail)).content.decode()
    assert dispatch() == 0
    asked = operator.get(resume).content.decode()
    assert "1 queued email will be sent when due." in asked
    assert "UTC by hermes. wrong template" in asked
    operator.post(resume)
    assert dispatch() == 1
    assert operator.get(reverse("sending", args=["sell"])).status_code == 404


def test_a_queue_is_paused_and_resumed_from_the_overview(operator, olympus):
    mail = a_mail()
    pause, resume = reverse("queue", args=["text", "pause"]), reverse("queue", args=["text", "resume"])

    assert pause in operator.get(reverse("admin:index")).content.decode()
    asked = operator.get(pause).content.decode()
    assert "No email of queue text is sent" in asked
    assert "1 email queued (it will wait); 0 requests in progress (they will finish)." in asked
    assert not pauses.load_active()
    shown_page = operator.post(pause, {"note": "wrong template"}, follow=True).content.decode()

    assert "Queue text is paused. 1 email queued (it will wait)" in shown_page
    assert "by hermes (“wrong template”): 1 email is waiting." in shown_page
    assert shown_page.count(resume) == 2  # in the alert, and in the table
    assert pause not in shown_page
    page = operator.get(page_of(mail)).content.decode()
    assert "Queue text is paused since" in page
    listed = operator.get("/mails/").content.decode()
    assert (listed.count(resume), listed.count("(“wrong template”)")) == (1, 1)
    assert "Waiting: queue text is paused" in page
    assert dispatch() == 0
    asked = operator.get(resume).content.decode()
    assert "by hermes. wrong template" in asked
    assert "1 queued email will be sent when due." in asked
    assert "Queue text has resumed." in operator.post(resume, follow=True).content.decode()
    assert "Queue text was not paused." in operator.post(resume, follow=True).content.decode()
    assert dispatch() == 1


def test_a_queue_that_does_not_exist_is_named_with_those_that_do(operator):
    page = operator.get(reverse("queue", args=["parcel", "pause"]), follow=True).content.decode()

    assert "There is no queue &#x27;parcel&#x27;. Known: text, html, attachment, large, bulk." in page
    assert operator.get(reverse("queue", args=["text", "sell"])).status_code == 404


def test_a_reason_too_long_pauses_nothing(operator):
    answer = operator.post(reverse("queue", args=["text", "pause"]), {"note": "x" * 501})

    assert answer.status_code == 400
    assert not pauses.load_active()


@pytest.mark.parametrize("door", ["api", "admin", "own page"])
def test_a_mail_that_is_removed_while_it_is_acted_on_is_not_found(door, operator, olympus, monkeypatch):
    person, program = zeus(), caller("shop")
    mail = a_mail(client=Client(source=Source.FORM, user=person))
    give, long_ago = action_execution.carry_out_by_id, timezone.now() - dt.timedelta(days=1)
    Mail.objects.update(status="discarded", next_attempt_at=None, finished_at=long_ago, api_key=program.key)

    def removed_first(*arguments):
        list(retention.run(dt.timedelta(0), dt.timedelta(0)))
        return give(*arguments)

    monkeypatch.setattr(action_execution, "carry_out_by_id", removed_first)

    answer = {
        "api": lambda: program.post(f"/api/v1.0/mails/{mail.pk}/reprocess"),
        "admin": lambda: operator.post(action(mail, "reprocess")),
        "own page": lambda: browser_of(person).post(reverse("mail-cancel", args=[mail.pk])),
    }[door]()

    assert answer.status_code == 404


@pytest.fixture
def given_up(olympus, hades):
    """A mail that olympus refused, when hades took no mail."""
    olympus.refuse(400)
    hades.disable()
    mail = a_mail()
    dispatch()
    hades.enable()
    olympus.behave()
    return mail


@pytest.mark.parametrize(
    ("query", "posted", "words"),
    [
        ("", {"account_choice": "all"}, "starts over through all accounts."),
        (
            "?account_choice=not-tried",
            {"account_choice": "not-tried", "via": ""},
            "starts over only through accounts not tried yet.",
        ),
        (
            "?account_choice=via&via=hades",
            {"account_choice": "via", "via": "hades"},
            "starts over through hades only.",
        ),
    ],
)
def test_an_email_is_reprocessed_through_the_selected_accounts(query, posted, words, operator, given_up):
    url = action(given_up, "reprocess") + query

    page = operator.get(url).text
    shown_page = operator.post(url, posted | {"note": "Repaired"}, follow=True).text

    assert words.removeprefix("starts over ").rstrip(".") in page
    assert f"The email is queued and {words}" in shown_page
    assert "Repaired" in shown_page
    assert dispatch() == 1


def test_another_choice_is_said_first_and_done_when_it_is_confirmed(operator, given_up, hades):
    url = action(given_up, "reprocess")

    looked = operator.post(url, {"account_choice": "not-tried", "look": "1"}, follow=True)
    changed = operator.post(url, {"account_choice": "via", "via": "hades"}, follow=True)

    assert looked.redirect_chain == [(f"{url}?account_choice=not-tried", 302)]
    assert "It was not yet tried with hades." in looked.text
    assert "Nothing was changed yet" not in looked.text
    assert changed.redirect_chain == [(f"{url}?account_choice=via&via=hades", 302)]
    assert (
        "Nothing was changed yet: you selected other accounts. This is the new forecast, through hades only."
        in changed.text
    )
    assert 'value="hades" checked' in changed.text
    assert reloaded(given_up).status == Status.DISCARDED


def test_the_reason_stays_when_the_choice_is_changed(operator, given_up, hades):
    url = action(given_up, "reprocess")

    unnamed = operator.post(url, {"account_choice": "via", "via": "", "note": "typo at home"}, follow=True)
    changed = operator.post(url, {"account_choice": "via", "via": "hades", "note": "typo at home"}, follow=True)
    looked = operator.post(f"{url}?note=typo+at+home", {"account_choice": "all", "look": "1", "note": ""}, follow=True)

    assert 'value="typo at home"' in unnamed.text
    assert 'value="typo at home"' in changed.text
    assert looked.redirect_chain == [(url, 302)]


def test_an_email_is_reprocessed_at_a_time(operator, given_up, hades):
    day = database_clock.now() + dt.timedelta(days=2)
    typed = {"send_at": f"{day:%Y-%m-%d}T12:00", "expires_at": "", "time_zone": "Asia/Tokyo"}
    url = action(given_up, "reprocess")

    looked = operator.post(url, typed | {"account_choice": "not-tried", "look": "1"}, follow=True)
    done = operator.post(looked.redirect_chain[0][0], typed | {"account_choice": "not-tried"}, follow=True)

    assert f'value="{typed["send_at"]}"' in looked.text
    assert "<option selected>Asia/Tokyo</option>" in looked.text
    assert "Scheduled: to be sent at" in done.text
    assert reloaded(given_up).send_at == day.replace(hour=3, minute=0, second=0, microsecond=0)
    assert dispatch() == 0


def test_a_time_that_is_refused_reprocesses_nothing(operator, given_up):
    answer = operator.post(action(given_up, "reprocess"), {"send_at": "2016-11-06T18:00", "time_zone": "UTC"})

    assert answer.status_code == 400
    assert "Send at: 2016-11-06 18:00 UTC is past" in answer.text
    assert reloaded(given_up).status == Status.DISCARDED


def test_who_has_the_email_gets_it_once_more_if_that_is_ticked(operator, olympus, hades):
    mail = a_mail(recipient=f"{HERA}, {IRIS}")
    hera, iris = mail.recipients.order_by("id")
    Recipient.objects.filter(pk=hera.pk).update(state=RecipientState.ACCEPTED)
    Mail.objects.filter(pk=mail.pk).update(status=Status.WAITING)
    url, box = action(mail, "reprocess"), f"again-{hera.pk}"
    typed = {f"recipient-{iris.pk}": IRIS, "account_choice": "not-tried", "look": "1"}

    page = operator.get(url).text
    ticked = operator.post(url, typed | {box: "on"}, follow=True)
    unticked = operator.post(ticked.redirect_chain[0][0], typed, follow=True)
    operator.post(url, {f"recipient-{iris.pk}": IRIS, box: "on"})

    assert f"Send it once more to {HERA}" in page
    assert "checked> Send it once more" not in page
    assert "checked> Send it once more" in ticked.text
    assert "checked> Send it once more" not in unticked.text
    assert read_last_blob(mail)["again"] == [HERA]
    hera.refresh_from_db()
    assert hera.state == RecipientState.PENDING


def test_a_choice_without_an_account_does_nothing(operator, given_up):
    url = action(given_up, "reprocess")

    unnamed = operator.post(url, {"account_choice": "via", "via": ""}, follow=True)
    unknown = operator.get(f"{url}?account_choice=via&via=charon", follow=True)

    assert "select the accounts to use" in unnamed.text
    assert "Account &#x27;charon&#x27; does not exist, or accepts no email now." in unknown.text
    assert unknown.redirect_chain == [(url, 302)]
    assert reloaded(given_up).status == Status.DISCARDED


def test_where_no_account_is_left_nothing_can_be_confirmed(operator, given_up, hades):
    hades.disable()
    url = f"{action(given_up, 'reprocess')}?account_choice=not-tried"

    page = operator.get(url).text
    shown_page = operator.post(url, {"account_choice": "not-tried"}, follow=True).text

    assert "the email was already tried with olympus" in page
    assert "Reprocess the mail</button>" not in page
    assert "Update forecast" in page
    assert "the email was already tried with olympus" in shown_page
    assert reloaded(given_up).status == Status.DISCARDED
