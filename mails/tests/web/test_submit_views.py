"""The form with all parts of an email, its live preview, and copies of emails that have them."""

import pytest

from mails.access import rate_limits
from mails.intake.client import Client
from mails.message import mime
from mails.models import Content, Mail
from mails.states import Source, Status
from mails.tests.builders import HERA, IRIS, ZEUS, a_mail
from mails.tests.people import browser_of, zeus

pytestmark = pytest.mark.django_db
FORM = {"sender": ZEUS, "recipient": f"Hera <{HERA}>", "subject": "You made my day", "idempotency_key": "k-1"}
HTML = '<p onclick="x()">Hi</p><script>alert(1)</script><img src="https://evil.example/x">'


def test_all_parts_are_stored_and_shown():
    browser = browser_of(zeus())
    parts = {"cc": IRIS, "bcc": "ares@olimpus.com", "reply_to": "help@olimpus.com", "content": "Hi", "html": "<p>Hi"}
    more = {"tags": "welcome, eu", "metadata": "order: 17\r\n", "headers": "X-Order: a: b", "queue": "bulk"}

    page = browser.post("/", {**FORM, **parts, **more}, follow=True).text

    mail = Mail.objects.get()
    message = mime.read_message(mail)
    assert (message.tags, message.metadata) == (("welcome", "eu"), {"order": "17"})
    assert message.headers == {"X-Order": "a: b"}
    assert (mail.content.text, mail.content.html, mail.queue) == ("Hi", "<p>Hi", "bulk")
    kinds = mail.recipients.values_list("kind", "name", "address")
    assert set(kinds) == {("to", "Hera", HERA), ("cc", "", IRIS), ("bcc", "", "ares@olimpus.com")}
    shown = ('"queue">welcome<', "order:</span> 17", "<dt>Reply to</dt><dd>help@olimpus.com")
    for words in (">Cc<", ">Bcc<", "Hera", "ares@olimpus.com", *shown):
        assert words in page


def test_an_error_of_any_field_is_next_to_it_and_all_is_kept():
    typed = {
        **FORM,
        "cc": "iris@olimpus",
        "html": "<p>Precious",
        "reply_to": "nobody",
        "queue": "fast",
        "headers": "Bcc: x",
    }

    response = browser_of(zeus()).post("/", typed)

    assert response.status_code == 400
    for words in (
        '<a href="#id_cc">Cc: ',
        '<a href="#id_reply_to">',
        '<a href="#id_queue">Queue: ',
        "&lt;p&gt;Precious",
    ):
        assert words in response.text
    assert '<details class="more" open>' in response.text
    assert not Mail.objects.exists()


def test_a_copy_has_all_parts():
    user = zeus()
    mail = a_mail(
        Client(source=Source.FORM, user=user),
        recipient=[{"email": HERA, "name": 'Hera, the "queen"'}, IRIS],
        bcc=["ares@olimpus.com"],
        reply_to="help@olimpus.com",
        html="<p>Hi",
        headers={"X-Order": "17"},
        tags=["welcome", "eu"],
        metadata={"order": "17"},
        unsubscribe_url="https://olimpus.com/unsubscribe",
        unsubscribe_mailto="leave@olimpus.com",
    )
    Mail.objects.filter(pk=mail.pk).update(status=Status.DONE)
    browser = browser_of(user)

    form = browser.get(f"/?copy={mail.pk}").context["form"]
    typed = {field.name: field.field.prepare_value(field.value() or "") for field in form}
    browser.post("/", typed)

    copy = Mail.objects.exclude(pk=mail.pk).get()
    columns = ("kind", "name", "address")
    assert list(copy.recipients.values_list(*columns)) == list(mail.recipients.values_list(*columns))
    assert copy.content.html == "<p>Hi"
    assert copy.content.other_fields == Content.objects.get(mail=mail).other_fields


def test_the_preview_is_cleaned_and_stored_nowhere():
    answer = browser_of(zeus()).post("/preview", {"html": HTML, "content": "Hi"})

    assert "<p>Hi</p><img>" in answer.text
    assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert answer["Cache-Control"].startswith("max-age=0, no-cache, no-store")
    assert not Mail.objects.exists()


def test_without_html_the_preview_is_the_text():
    answer = browser_of(zeus()).post("/preview", {"html": " ", "content": "Hi <b>\u202eHera"})

    assert "<pre>Hi &lt;b&gt;\ufffdHera</pre>" in answer.text
    assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_the_preview_says_in_its_frame_that_nobody_is_signed_in(client):
    answer = client.post("/preview", {"content": "Hi"})

    assert answer.status_code == 403
    assert "Sign in again" in answer.text
    assert "frame-ancestors 'self'" in answer["Content-Security-Policy"]
    assert client.get("/preview").status_code == 405


def test_too_many_previews_are_refused_to_this_person_alone(monkeypatch):
    monkeypatch.setattr(rate_limits, "PREVIEWS_A_MINUTE", 2)
    browser = browser_of(zeus())

    answers = [browser.post("/preview", {"content": "Hi"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "The preview pauses" in answers[-1].text
    assert rate_limits.count_preview(0)
