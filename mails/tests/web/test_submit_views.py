"""The form with all parts of an email, its live preview, and copies of emails that have them."""

import re
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from mails.access import rate_limits
from mails.files import uploads
from mails.files.uploads import Owner
from mails.intake.client import Client
from mails.message import mime
from mails.models import Content, FileContent, Mail, StoredFile
from mails.states import Source, Status
from mails.tests.builders import HERA, IRIS, ZEUS, a_mail
from mails.tests.files.builders import a_link
from mails.tests.people import browser_of, hermes, zeus

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


def upload(name: str, content: bytes, kind: str = "application/octet-stream") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, kind)


def sent_files(mail) -> list[tuple[str, str, int, str]]:
    return list(mail.files.values_list("filename", "content_type", "size", "cid"))


def find_rows(response) -> list[tuple[str, str]]:
    """The rows of files that the form shows: their names and errors."""
    return [(row.filename, " ".join(row.errors)) for row in response.context["form"].attachments]


def test_a_form_with_its_files_in_it_is_sent():
    browser = browser_of(zeus())
    files = [upload("bolt.pdf", b"%PDF-1.4 thunder", "application/pdf"), upload("../notes.txt", b"Hi", "text/plain")]

    browser.post("/", {**FORM, "content": "Hi", "uploads": files})

    mail = Mail.objects.get()
    assert sent_files(mail) == [("bolt.pdf", "application/pdf", 16, ""), ("notes.txt", "text/plain", 2, "")]
    assert mail.queue == "attachment"
    assert not StoredFile.objects.exists()


def test_a_double_submit_with_files_is_one_email():
    browser = browser_of(zeus())

    answers = [browser.post("/", {**FORM, "uploads": upload("a.txt", b"Hi", "text/plain")}) for _ in range(2)]

    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert Mail.objects.count() == 1


def test_files_of_a_form_with_an_error_are_kept():
    browser = browser_of(zeus())

    refused = browser.post("/", {**FORM, "cc": "nobody", "uploads": upload("a.txt", b"Hi", "text/plain")})
    file = StoredFile.objects.get()
    browser.post("/", {**FORM, "file": [str(file.pk)]})

    assert f'name="file" value="{file.pk}"' in refused.text
    assert sent_files(Mail.objects.get()) == [("a.txt", "text/plain", 2, "")]


def test_each_file_has_its_own_error():
    files = [upload("a.png", b"<html>", "image/png"), upload("b.txt", b"Hi", "text/plain"), upload("c.txt", b"")]

    response = browser_of(zeus()).post("/", {**FORM, "uploads": files})

    assert response.status_code == 400
    rows = find_rows(response)
    assert "its content is text/html" in rows[0][1]
    assert rows[1] == ("b.txt", "")
    assert "empty" in rows[2][1]
    assert '<a href="#attachment-1">a.png: ' in response.text


def test_a_file_that_is_too_large_is_named(settings):
    settings.MERCURY_MAX_ATTACHMENT_SIZE = 10

    response = browser_of(zeus()).post("/", {**FORM, "uploads": upload("a.txt", b"x" * 11, "text/plain")})

    assert find_rows(response)[0][1].startswith("The file has 11 B; at most 10 B are allowed")
    assert f'value="{StoredFile.objects.get().pk}"' in response.text


def test_files_that_are_removed_or_of_somebody_else_are_not_sent():
    browser = browser_of(zeus())
    others = uploads.receive(BytesIO(b"secret").read, filename="s", declared="", size=6, owner=Owner(user=hermes()))
    browser.post("/", {**FORM, "cc": "nobody", "uploads": upload("a.txt", b"Hi", "text/plain")})
    own = str(StoredFile.objects.exclude(pk=others.pk).get().pk)

    refused = browser.post("/", {**FORM, "file": [own, str(others.pk)], "remove": [own]})
    hostile = browser.post("/", {**FORM, "file": ["mail/1/1", "../etc/passwd", "\0"]})

    assert find_rows(refused)[0][0] == "A file that is gone"
    assert "There is no uploaded file" in find_rows(refused)[0][1]
    assert hostile.status_code == 400
    assert not Mail.objects.exists()


def test_a_copy_carries_the_files_and_copies_no_byte():
    user = zeus()
    browser = browser_of(user)
    picture = upload("bolt.png", b"\x89PNG\r\n\x1a\n...", "image/png")
    browser.post("/", {**FORM, "cc": "nobody", "html": '<img src="cid:bolt">', "uploads": picture})
    file = str(StoredFile.objects.get().pk)
    browser.post("/", {**FORM, "html": '<img src="cid:bolt">', "file": file, f"content_id-{file}": "bolt"})
    mail = Mail.objects.get()
    Mail.objects.update(status=Status.DONE)
    StoredFile.objects.all().delete()

    page = browser.get(f"/?copy={mail.pk}")
    named = f"mail/{mail.pk}/1"
    typed = {
        **FORM,
        "idempotency_key": "k-2",
        "html": '<img src="cid:bolt">',
        "file": named,
        f"content_id-{named}": "bolt",
    }
    shown = browser.post("/preview", typed)
    answers = [browser.post("/", typed) for _ in range(2)]

    assert f'name="file" value="{named}"' in page.text
    assert f"/mails/{mail.pk}/files/1/picture?until=" in shown.text
    copy = Mail.objects.exclude(pk=mail.pk).get()
    assert answers[0].headers["Location"] == answers[1].headers["Location"] == f"/mails/{copy.pk}"
    assert sent_files(copy) == sent_files(mail) == [("bolt.png", "image/png", 11, "bolt")]
    assert FileContent.objects.count() == 1


def test_files_of_an_email_that_a_person_may_not_see_are_not_copied():
    hermes_browser = browser_of(hermes())
    hermes_browser.post("/", {**FORM, "uploads": upload("a.txt", b"Hi", "text/plain")})
    mail = Mail.objects.get()

    refused = browser_of(zeus()).post("/", {**FORM, "file": f"mail/{mail.pk}/1"})

    assert refused.status_code == 400
    assert find_rows(refused)[0][0] == "A file that is gone"
    assert Mail.objects.count() == 1


def test_the_preview_shows_uploaded_pictures(client):
    browser = browser_of(zeus())
    picture = upload("bolt.png", b"\x89PNG\r\n\x1a\n...", "image/png")
    browser.post("/", {**FORM, "cc": "nobody", "uploads": picture})
    file = str(StoredFile.objects.get().pk)

    html = browser.post("/preview", {"html": '<img src="cid:bolt">', "file": file, f"content_id-{file}": "bolt"}).text
    path = re.search(' src="([^"]+)"', html)[1].replace("&amp;", "&")

    assert client.get(path)["Content-Type"] == "image/png"
    assert client.get(path.partition("?")[0]).status_code == 404


def test_a_file_is_sent_as_a_link_where_that_is_chosen_or_its_size_requires_it(settings):
    settings.MERCURY_BASE_URL, settings.MERCURY_MAX_ATTACHMENT_SIZE = "https://mercury.olimpus.com", 10
    browser = browser_of(zeus())
    files = [upload("large.txt", b"x" * 11, "text/plain"), upload("small.txt", b"Hi", "text/plain")]
    refused = browser.post("/", {**FORM, "cc": "nobody", "uploads": files})
    large, small = (str(file.pk) for file in StoredFile.objects.order_by("id"))
    typed = {**FORM, "file": [large, small], f"delivery-{small}": "link"}

    again = browser.post("/", {**typed, "cc": "nobody"}).text
    browser.post("/", typed)

    assert f'name="delivery-{large}"' in refused.text
    assert '<option value="link" selected>' in again
    mail = Mail.objects.get()
    assert (list(mail.links.values_list("filename", flat=True)), sent_files(mail)) == (["large.txt", "small.txt"], [])


def test_a_copy_carries_files_that_were_sent_as_links(settings):
    settings.MERCURY_BASE_URL = "https://mercury.olimpus.com"
    user = zeus()
    mail = a_mail(Client(source=Source.FORM, user=user))
    a_link(mail=mail)
    a_link(mail=mail, number=2, filename="gone.png", content_id=None)
    Mail.objects.update(status=Status.DONE)
    browser = browser_of(user)

    page = browser.get(f"/?copy={mail.pk}")
    named = [row.id for row in page.context["form"].attachments]
    typed = {**FORM, "file": named, f"delivery-{named[0]}": "link"}
    refused = browser.post("/", typed)
    browser.post("/", {**typed, "remove": named[1]})

    assert [errors[:14] for _, errors in find_rows(page)] == ["", "It was deleted"]
    assert (refused.status_code, find_rows(refused)[1][0]) == (400, "gone.png")
    copy = Mail.objects.exclude(pk=mail.pk).get()
    assert list(copy.links.values_list("filename", flat=True)) == ["crown.png"]


def test_without_links_the_form_offers_none(settings):
    settings.MERCURY_BASE_URL = ""

    page = browser_of(zeus()).get("/").text

    assert "data-can-link" not in page
    assert "Send as" not in page
