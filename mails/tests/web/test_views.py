"""The pages for people who send."""

import datetime as dt
import email
import email.policy
import json
import re
import time
import uuid

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from mails import pauses
from mails.intake.client import Client
from mails.models import Content, Event, Mail, Pause
from mails.obstacles import find_obstacles
from mails.queues import QueueName
from mails.states import Source, Status
from mails.tests.builders import HELLO, HERA, ZEUS, a_mail, a_rejected_mail, dispatch, reloaded
from mails.tests.people import browser_of, hermes, zeus

pytestmark = pytest.mark.django_db
FORM = {"sender": ZEUS, "recipient": HERA, "subject": "You made my day", "content": "Hi", "idempotency_key": "k-1"}


def timeline_of(browser, mail, **query):
    return browser.get(reverse("mail-timeline", args=[mail.pk]), query, headers={"HX-Request": "true"})


@pytest.mark.parametrize("url", ["/", "/mails/", "/mails/019aa3f2-6c1e-7b40-9d55-3f1c8ee0a417"])
def test_a_stranger_is_led_to_the_log_in_and_back(client, url):
    assert client.get(url).headers["Location"] == f"/login/?next={url}"


def test_the_log_in_leads_on_and_names_what_is_wrong(client):
    zeus()

    wrong = client.post("/login/", {"username": "zeus", "password": "no", "next": "/mails/"})
    right = client.post("/login/", {"username": "zeus", "password": "a-long-pass-phrase", "next": "/mails/"})

    assert "<title>Error:" in wrong.text
    assert 'role="alert"' in wrong.text
    assert right.headers["Location"] == "/mails/"


def test_too_many_tries_are_locked_out(client):
    for _ in range(12):
        form = {"username": "zeus", "password": "no"}
        response = client.post("/login/", form, headers={"Accept": "text/html"})

    assert (response.status_code, response.headers["Retry-After"]) == (429, "600")
    assert "Too many attempts" in response.text


@pytest.mark.parametrize("field", ["sender", "recipient", "subject", "content", "idempotency_key"])
@pytest.mark.parametrize("value", ["\0", "\u202e", "x" * 100_000, "\r\nBcc: iris@olimpus.com", "ü" * 300, " "])
def test_no_field_breaks_the_form(field, value):
    response = browser_of(zeus()).post("/", {**FORM, field: value})

    assert response.status_code in (302, 400)
    assert response.status_code == 302 or 'role="alert"' in response.text


def test_a_mail_from_the_form_is_stored_and_shown():
    browser = browser_of(zeus())

    response = browser.post("/", FORM, follow=True)

    mail = Mail.objects.get()
    assert (mail.source, str(mail.user), mail.status) == (Source.FORM, "zeus", Status.QUEUED)
    assert response.redirect_chain == [(f"/mails/{mail.pk}", 302)]
    assert "Accepted." in response.text
    assert "Accepted." not in browser.get(f"/mails/{mail.pk}").text


def test_a_double_submit_is_one_mail():
    browser = browser_of(zeus())

    first, second = browser.post("/", FORM), browser.post("/", FORM)

    assert first.headers["Location"] == second.headers["Location"]
    assert Mail.objects.count() == 1


def test_the_same_form_with_another_text_asks_before_it_sends():
    browser = browser_of(zeus())
    browser.post("/", FORM)

    response = browser.post("/", {**FORM, "content": "Other"})

    assert response.status_code == 400
    assert "Press Send to send it as a new email" in response.text
    assert "k-1" not in response.text


def test_errors_are_named_and_what_was_typed_is_kept():
    response = browser_of(zeus()).post("/", {**FORM, "recipient": "hera@olimpus", "content": "Precious <words>"})

    assert response.status_code == 400
    assert "<title>Error: Send an email" in response.text
    assert '<a href="#id_recipient">To: ' in response.text
    assert "Precious &lt;words&gt;" in response.text
    assert 'value="hera@olimpus"' in response.text
    assert not Mail.objects.exists()


def test_an_address_that_is_not_allowed_is_refused_at_its_field():
    response = browser_of(zeus()).post("/", {**FORM, "sender": HERA})

    assert response.status_code == 400
    assert "Not allowed to send as" in response.text


def a_sent_mail(user, **changes):
    mail = a_mail(Client(source=Source.FORM, user=user), **changes)
    dispatch()
    return reloaded(mail)


@pytest.mark.django_db(transaction=True)
def test_a_copy_is_a_new_mail_that_nothing_sends_before_the_person_does(olympus):
    user = zeus()
    browser = browser_of(user)
    mail = a_sent_mail(user, recipient=f"{HERA}, iris@olimpus.com", content="\n<Precious> words")

    page = browser.get(f"/mails/{mail.pk}").text
    form = browser.get(f"/?copy={mail.pk}")

    assert f"/?copy={mail.pk}" in page
    assert "It is sent as a new email with a new id and Message-ID." in form.text
    assert (reloaded(mail).status, Mail.objects.count()) == (Status.DONE, 1)
    typed = {field.name: field.value() or "" for field in form.context["form"]}
    browser.post("/", typed)
    copy = Mail.objects.exclude(pk=mail.pk).get()
    assert copy.content.text == mail.content.text
    assert (copy.sender, copy.recipient, copy.subject) == (mail.sender, mail.recipient, mail.subject)
    dispatch()
    ours = [kept for kept in olympus.inbox() if kept.subject == mail.subject]
    assert len(ours) == 2
    assert reloaded(copy).status == Status.DONE


@pytest.mark.django_db(transaction=True)
def test_a_copy_holds_to_the_addresses_that_the_person_may_send_as(olympus):
    theirs = a_sent_mail(hermes(), sender=HERA)
    user = zeus()
    named = a_sent_mail(user, sender=f"Zeus <{ZEUS}>")
    user.user_permissions.add(Permission.objects.get(codename="view_mail"))
    browser = browser_of(user)

    assert "which you are not allowed to use" in browser.get(f"/?copy={theirs.pk}").text
    assert f"Zeus &lt;{ZEUS}&gt;" in browser.get(f"/?copy={named.pk}").text
    answer = browser.post("/", {**FORM, "sender": HERA})
    assert answer.status_code == 400
    assert Mail.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_mail_whose_text_was_removed_is_not_copied_and_says_why(olympus):
    user = zeus()
    mail = a_sent_mail(user)
    Mail.objects.filter(pk=mail.pk).update(text_removed_at=dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    Content.objects.filter(mail=mail).delete()

    for browser, url in (
        (browser_of(user), f"/mails/{mail.pk}"),
        (browser_of(hermes()), f"/admin/mails/mail/{mail.pk}/change/"),
    ):
        page = browser.get(url).text
        assert "This email cannot be copied: its body was removed on 2026-11-01." in page
        assert "?copy=" not in page
    form = browser_of(user).get(f"/?copy={mail.pk}").text
    assert "its body was removed on 2026-11-01" in form
    assert "It becomes a new mail" not in form


def test_only_a_sent_mail_that_the_person_may_see_is_copied():
    user = zeus()
    queued, other = a_mail(Client(source=Source.FORM, user=user), subject="Not yet"), a_mail()
    browser = browser_of(user)

    form = browser.get(f"/?copy={queued.pk}").text

    assert "Only an email that was sent, discarded or cancelled, or that has expired, can be copied." in form
    assert "Not yet" not in form
    assert "?copy=" not in browser.get(f"/mails/{queued.pk}").text
    for unknown in (other.pk, uuid.uuid4(), "zeus", "%00", ""):
        assert browser.get(f"/?copy={unknown}").status_code == 404


def test_who_may_send_as_nobody_sees_what_to_do():
    user = zeus()
    user.sender_permissions.all().delete()

    assert "You have no allowed sender address" in browser_of(user).get("/").text


def test_the_sandbox_box_shows_only_while_no_provider_is_configured(settings):
    browser = browser_of(zeus())

    before = browser.get("/").text
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_OLYMPUS": "smtp://mail.olimpus.com"}
    after = browser.get("/").text

    assert "Sandbox is on." in before
    assert "Sandbox is on." not in after


def test_the_list_shows_ones_own_mails_only():
    user = zeus()
    a_mail(Client(source=Source.FORM, user=user), subject="Mine")
    a_mail(subject="Of somebody else")

    page = browser_of(user).get("/mails/").text

    assert "Mine" in page
    assert "Of somebody else" not in page


def test_an_empty_list_says_what_to_do():
    browser = browser_of(zeus())

    assert "You have not sent an email yet" in browser.get("/mails/").text


def test_the_list_narrows_by_state_and_words():
    user = zeus()
    browser = browser_of(user)
    a_mail(Client(source=Source.FORM, user=user), subject="Mine")

    assert "Mine" in browser.get("/mails/?state=queued&q=to:hera").text
    assert "No email matches" in browser.get("/mails/?state=done").text
    assert "is not a search filter" in browser.get("/mails/?q=colour:red").text


def test_unknown_and_not_yours_look_alike():
    browser = browser_of(zeus())
    mail = a_mail()

    answers = [browser.get(f"/mails/{pk}{tail}") for pk in (mail.pk, uuid.uuid4()) for tail in ("", "/timeline")]

    assert {answer.status_code for answer in answers} == {404}


def test_an_operator_sees_every_mail():
    assert browser_of(hermes()).get(f"/mails/{a_mail().pk}").status_code == 200


def test_the_old_address_of_a_mail_leads_to_its_page(client):
    pk = uuid.uuid4()

    assert client.get(f"/details/mails/{pk}/").headers["Location"] == f"/mails/{pk}"


def test_no_news_is_204(olympus):
    mail = a_mail()
    last = Event.objects.filter(mail=mail).latest("id").pk

    response = timeline_of(browser_of(hermes()), mail, after=last, status="queued", obstacles=find_obstacles(mail).mark)

    assert (response.status_code, response.content) == (204, b"")


def test_no_news_costs_six_queries_besides_the_login(olympus, django_assert_num_queries):
    mail = a_mail()
    obstacles = find_obstacles(mail).mark
    last = Event.objects.filter(mail=mail).latest("id").pk
    browser = browser_of(hermes())

    with django_assert_num_queries(8):
        timeline_of(browser, mail, after=last, status="queued", obstacles=obstacles)


def test_news_carry_the_new_steps_only_and_the_next_poller():
    mail = a_mail()
    first = Event.objects.filter(mail=mail).earliest("id").pk

    text = timeline_of(browser_of(hermes()), mail, after=first, status="queued").text

    assert f"event-{first}" not in text
    assert text.count('class="step') == 3  # ACCEPTED, ENQUEUE, and what it waits for
    assert 'id="poller"' in text


def test_a_state_that_changed_without_an_event_is_news():
    mail = a_mail()
    last = Event.objects.filter(mail=mail).latest("id").pk

    assert timeline_of(browser_of(hermes()), mail, after=last, status="sending").status_code == 200


def test_a_pause_of_its_queue_is_news_and_so_is_its_end(olympus):
    mail = a_mail()
    last = Event.objects.filter(mail=mail).latest("id").pk
    browser = browser_of(hermes())
    pauses.pause(QueueName.TEXT, by="user:hermes")
    obstacles = f"pause-{Pause.objects.get().pk}"

    response = timeline_of(browser, mail, after=last, status="queued")
    again = timeline_of(browser, mail, after=last, status="queued", obstacles=obstacles)
    pauses.resume(QueueName.TEXT, by="user:hermes")
    ended = timeline_of(browser, mail, after=last, status="queued", obstacles=obstacles)

    assert "Queue text is paused" in response.text
    assert f"&amp;obstacles={obstacles}" in response.text
    assert again.status_code == 204
    assert ended.status_code == 200
    assert "paused" not in ended.text


def test_a_pause_of_all_sending_is_news_and_so_is_its_end(olympus):
    mail = a_mail()
    last = Event.objects.filter(mail=mail).latest("id").pk
    browser = browser_of(hermes())
    pauses.pause(by="user:hermes")
    obstacles = f"pause-{Pause.objects.get().pk}"

    response = timeline_of(browser, mail, after=last, status="queued")
    again = timeline_of(browser, mail, after=last, status="queued", obstacles=obstacles)
    pauses.resume(by="user:hermes")
    ended = timeline_of(browser, mail, after=last, status="queued", obstacles=obstacles)

    assert "nothing is sent until someone resumes it" in response.text
    assert "Waiting: sending is paused" in response.text
    assert f"&amp;obstacles={obstacles}" in response.text
    assert again.status_code == 204
    assert ended.status_code == 200
    assert "Sending is paused" not in ended.text


def test_a_mail_that_waits_tells_its_page_when_to_look_again():
    mail = a_mail()
    later = timezone.now() + dt.timedelta(seconds=30)
    Mail.objects.filter(pk=mail.pk).update(status=Status.WAITING, next_attempt_at=later)

    page = browser_of(hermes()).get(f"/mails/{mail.pk}").text

    due_in = re.search(r'data-due-in="([0-9.]+)"', page)
    assert due_in is not None
    assert 0 < float(due_in[1]) <= 30
    assert 'data-passing="-' in page


@pytest.mark.django_db(transaction=True)
def test_the_last_answer_carries_no_poller(olympus):
    mail = a_mail()
    dispatch("text")
    browser = browser_of(hermes())

    text = timeline_of(browser, mail, after=0, status="queued").text

    assert reloaded(mail).status == Status.DONE
    assert 'id="poller"' not in text
    assert "Final · " in text
    assert 'id="poller"' not in browser.get(f"/mails/{mail.pk}").text


@pytest.mark.parametrize("after", ["", "zeus", "-1", "9" * 40, "٣"])
def test_a_cursor_that_is_none_starts_at_the_beginning(after):
    assert timeline_of(browser_of(hermes()), a_mail(), after=after).status_code == 200


def test_who_was_signed_out_is_led_to_the_log_in_not_shown_it_inside_the_page(client):
    mail = a_mail()

    response = timeline_of(client, mail)

    assert response.headers["HX-Redirect"] == f"/login/?next=/mails/{mail.pk}"


def test_a_clients_event_is_escaped():
    mail = a_mail()
    blob = json.dumps({"service": "<script>alert(1)</script>"})
    Event.objects.create(mail=mail, created_at=time.time_ns(), created_by="<b>", event="READY TO SEND", blob=blob)
    Event.objects.create(mail=mail, created_at=time.time_ns(), created_by="<b>", event="<img src=x>", blob="<i>")

    text = browser_of(hermes()).get(f"/mails/{mail.pk}").text

    for tag in ("<script>alert", "<img src=x>", "<b>", "<i>"):
        assert tag not in text


def test_the_message_is_shown_as_a_provider_is_handed_it():
    mail = a_mail(subject="Grüße", content="Χαῖρε <b>Hera</b>")
    browser = browser_of(hermes())

    for url in (f"/mails/{mail.pk}", f"/admin/mails/mail/{mail.pk}/change/"):
        page = browser.get(url).text
        assert "Χαῖρε &lt;b&gt;Hera&lt;/b&gt;" in page
        assert f"&lt;{mail.pk}@olimpus.com&gt;" in page
        assert "X-Mercury-ID" in page
        assert "<iframe" not in page
    source = browser.get(f"/mails/{mail.pk}/message.eml")
    message = email.message_from_bytes(source.content, policy=email.policy.default)
    assert (message["Subject"], message.get_content().strip()) == ("Grüße", "Χαῖρε <b>Hera</b>")
    assert source["Content-Disposition"] == f'attachment; filename="{mail.pk}.eml"'


def rejected(user, **changes):
    """A rejected email that this person may see, as the API keeps it."""
    return a_rejected_mail(Client(source=Source.API, user=user), **HELLO | {"recipient": "nobody"} | changes)


def test_a_rejected_mail_shows_its_text_and_is_no_message():
    user = zeus()
    browser = browser_of(user)
    mail = rejected(user, content="Precious words")

    page = browser.get(f"/mails/{mail.pk}").text

    assert "Precious words" in page
    assert "rejected before a message was built" in page
    assert "#message-source" not in page
    assert browser.get(f"/mails/{mail.pk}/message.eml").status_code == 404


def test_the_page_of_a_rejected_mail_names_the_errors():
    user = zeus()
    browser = browser_of(user)
    mail = rejected(user)

    page = browser.get(f"/mails/{mail.pk}").text

    assert "Failed validation" in page
    assert "Rejected" in page
    assert "<strong>What to do:</strong>" in page


def test_nothing_is_inline():
    mail = a_mail()
    browser = browser_of(hermes())

    for url in (
        "/",
        "/mails/",
        f"/mails/{mail.pk}",
        "/admin/",
        "/admin/mails/mail/",
        f"/admin/mails/mail/{mail.pk}/change/",
    ):
        text = browser.get(url).text
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick" not in text
        assert "<script>" not in text


@pytest.mark.parametrize("code", [400, 403, 404, 429, 500, 503])
def test_error_pages_touch_no_database(code, django_assert_num_queries):
    from django.template import loader

    with django_assert_num_queries(0):
        text = loader.get_template(f"{code}.html").render({"detail": "Zeus is away.", "request_id": "abc-1"})

    assert "Zeus is away." in text
    assert "abc-1" in text
    assert "What to do" in text
