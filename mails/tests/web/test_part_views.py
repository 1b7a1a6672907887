"""Parts of an email: its HTML, pictures, files, and the whole message, for those who may see it."""

import re

import pytest
from django.contrib.auth.models import User

from mails.files import storage
from mails.intake.client import Client
from mails.models import MailFile
from mails.states import Source
from mails.tests.builders import a_mail
from mails.tests.files.builders import a_link
from mails.tests.message.test_mail_preview import PNG, a_mail_with_file
from mails.tests.people import browser_of, hermes, zeus
from mercury.lib.database import database_clock
from mercury.lib.storages.errors import FileMissing

pytestmark = pytest.mark.django_db
SCRIPT = b"<script>alert(1)</script>"


def test_html_and_files_are_shown_where_an_email_has_some():
    mail = a_mail_with_file(html="<p onclick='x'>Hi</p>")
    browser = browser_of(hermes())

    for url in (f"/mails/{mail.pk}", f"/admin/mails/mail/{mail.pk}/change/"):
        page = browser.get(url).text
        assert f'src="/mails/{mail.pk}/html"' in page
        assert f'<a href="/mails/{mail.pk}/files/1" download>bolt.png</a>' in page
        assert "The contents of files are left out here" in page
    html = browser.get(f"/mails/{mail.pk}/html")
    assert "<p>Hi</p>" in html.text
    assert html["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_a_file_is_downloaded_and_never_shown():
    mail = a_mail_with_file(SCRIPT)

    browser = browser_of(hermes())

    answer = browser.get(f"/mails/{mail.pk}/files/1")

    assert b"".join(answer.streaming_content) == SCRIPT
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="bolt.png"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert browser.get(f"/mails/{mail.pk}/files/2").status_code == 404


def find_picture(mail) -> str:
    html = browser_of(hermes()).get(f"/mails/{mail.pk}/html").text
    (picture,) = re.findall(' src="([^"]+)"', html)
    return str(picture).replace("&amp;", "&")


def test_a_picture_is_shown_within_the_html_without_a_session(client):
    mail = a_mail_with_file(cid="bolt", html='<img src="cid:bolt">')

    answer = client.get(find_picture(mail))

    assert (answer["Content-Type"], answer.content) == ("image/png", PNG)
    assert client.get(f"/mails/{mail.pk}/files/1/picture").status_code == 404


def test_what_only_claims_to_be_a_picture_is_not_shown(client):
    mail = a_mail_with_file(SCRIPT, cid="bolt", html='<img src="cid:bolt">')

    assert client.get(find_picture(mail)).status_code == 404


def test_a_file_that_retention_deleted_says_so():
    mail = a_mail_with_file(cid="bolt", html='<img src="cid:bolt">')
    MailFile.objects.update(content=None)
    browser = browser_of(hermes())

    assert "Retention has deleted this file" in browser.get(f"/mails/{mail.pk}/files/1").text
    assert "deleted by retention" in browser.get(f"/mails/{mail.pk}").text
    assert "<img>" in browser.get(f"/mails/{mail.pk}/html").text


@pytest.mark.parametrize("tail", ["files/1", "message.eml"])
def test_a_storage_that_does_not_answer_is_a_503(tail, monkeypatch):
    def fail(location):
        raise FileMissing(location)

    mail = a_mail_with_file()
    monkeypatch.setattr(storage, "open_content", fail)

    answer = browser_of(hermes()).get(f"/mails/{mail.pk}/{tail}")

    assert answer.status_code == 503
    assert "cannot be read from the storage" in answer.text


@pytest.mark.parametrize("tail", ["html", "message.eml", "files/1"])
def test_parts_are_for_those_who_may_see_the_email(client, tail):
    mail = a_mail()

    assert client.get(f"/mails/{mail.pk}/{tail}").headers["Location"].startswith("/login/")
    assert browser_of(zeus()).get(f"/mails/{mail.pk}/{tail}").status_code == 404


def test_nothing_of_a_hostile_email_gets_into_its_page():
    evil = '"><script>alert(1)</script>'
    mail = a_mail(
        subject=evil,
        html=f"<p>{evil}",
        headers={"X-Evil": evil},
        metadata={"evil": evil},
        attachments=[{"filename": "a.txt", "content": "SGk="}],
    )
    MailFile.objects.update(filename=f"{evil}.png", content_type=evil, cid=evil)
    browser = browser_of(hermes())

    for url in (f"/mails/{mail.pk}", f"/admin/mails/mail/{mail.pk}/change/"):
        page = browser.get(url).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;.png" in page
    assert "alert" not in browser.get(f"/mails/{mail.pk}/html").text
    header = browser.get(f"/mails/{mail.pk}/files/1")["Content-Disposition"]
    assert header.startswith('attachment; filename="\\"><script>alert(1)</script>.png"')


def test_a_blind_copy_is_shown_to_the_sender_and_to_operators_only():
    user = zeus()
    mail = a_mail(Client(source=Source.FORM, user=user), bcc=["ares@olimpus.com"])

    for person, status in ((user, 200), (hermes(), 200), (User.objects.create_user("iris"), 404)):
        answer = browser_of(person).get(f"/mails/{mail.pk}")
        assert answer.status_code == status
        assert ("ares@olimpus.com" in answer.text) is (status == 200)
    source = browser_of(user).get(f"/mails/{mail.pk}/message.eml")
    assert b"ares" not in source.content


def test_download_links_are_listed_with_what_became_of_them():
    link = a_link(downloads=2, max_downloads=3)
    a_link(mail=link.mail, number=2, filename="bolt<b>.png", expires_at=database_clock.now())
    browser = browser_of(hermes())

    for url in (f"/mails/{link.mail_id}", f"/admin/mails/mail/{link.mail_id}/change/"):
        page = browser.get(url).text
        for words in ("crown.png", "Valid", "10.2 kB, 2 of 3 downloads, until", "bolt&lt;b&gt;.png", "Expired"):
            assert words in page
