"""The preview of a stored email: its parts as a provider gets them, and its files without their contents."""

import pytest
from django.core.files.base import ContentFile

from mails.files import contents, storage
from mails.message import mail_preview, mime
from mails.models import Content, FileContent, Mail, MailFile
from mails.tests.builders import a_mail
from mercury.lib.mail.preview import File, MailPreview

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n..."
HASH = "1" * 64


def a_mail_with_file(content: bytes = PNG, *, cid: str = "", html: str = "") -> Mail:
    """An email with one file, as it is stored; also one that intake would refuse."""
    mail = a_mail(html="<p>" if html else "")
    contents.keep(HASH, len(content), contents.write(ContentFile(content)))
    named = {"filename": "bolt.png", "content_type": "image/png", "size": len(content)}
    stored = {"attachments": [{**named, "sha256": HASH, "content_id": cid}]}
    Content.objects.filter(mail=mail).update(other_fields=stored, html=html)
    MailFile.objects.create(mail=mail, number=1, cid=cid, content_id=HASH, **named)
    return mail


def preview_of(mail: Mail) -> MailPreview:
    message = mime.read_beginning(mail, recipients=mail.recipients.all())
    return mail_preview.build_preview(mail, message, files=mail_preview.list_files(mail))


def test_a_page_shows_both_bodies_of_an_email():
    mail = a_mail(content="Hi", html="<p>Grüße</p>")

    shown = preview_of(mail)

    assert (shown.text, shown.html, shown.files) == ("Hi\n", "<p>Grüße</p>\n", [])


def test_files_are_listed_and_not_read(monkeypatch):
    mail = a_mail_with_file()
    monkeypatch.setattr(storage, "read", lambda _location: pytest.fail("read"))

    shown = preview_of(mail)

    assert shown.files == [File(number=1, name="bolt.png", kind="image/png", size=len(PNG))]
    assert shown.leaves_out_files
    assert dict(shown.headers)["Content-Type"].startswith("multipart/mixed")
    assert "filename=bolt.png" in shown.source_shown


def test_a_file_that_retention_deleted_is_listed_still():
    mail = a_mail_with_file(cid="bolt")
    MailFile.objects.update(content=None)

    [file] = preview_of(mail).files

    assert (file.name, file.is_kept, file.is_shown_inside) == ("bolt.png", False, False)


def test_the_whole_source_has_the_content():
    mail = a_mail_with_file(content=b"thunder")

    assert b"dGh1bmRlcg==" in mime.render_source(mail, mime.read_message(mail))


def test_a_source_whose_file_is_gone_is_no_message():
    mail = a_mail_with_file()
    MailFile.objects.all().delete()
    FileContent.objects.all().delete()

    assert mime.render_source(mail, mime.read_message(mail)) == b""
