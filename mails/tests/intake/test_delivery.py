"""Files that are too large for an attachment, or are not to be one, become download links."""

import base64
import datetime as dt
import email
import email.policy
import hashlib
from typing import Any

import pytest

from mails.files import link_tokens
from mails.intake.receipts import Refused, Stored
from mails.message import mime
from mails.models import DownloadLink, FileContent, Mail, MailFile
from mails.tests.builders import HELLO, a_mail, dispatch, reloaded, submit
from providers.sandbox import mailbox
from providers.tests.support.builders import sandbox_account

pytestmark = pytest.mark.django_db(transaction=True)
SITE = "https://mail.olimpus.com"


@pytest.fixture(autouse=True)
def small_limits(settings: Any) -> None:
    settings.MERCURY_BASE_URL = SITE
    settings.MERCURY_MAX_ATTACHMENT_SIZE = 100
    settings.MERCURY_MAX_ATTACHMENTS_SIZE = 250


def file(name: str, size: int, **more: str) -> dict[str, str]:
    content = (name.encode() * size)[:size]
    return {"filename": name, "content": base64.b64encode(content).decode(), "content_type": "text/plain", **more}


def send(*files: dict[str, str], **fields: Any) -> Mail:
    return a_mail(attachments=list(files), **fields)


def refuse(*files: dict[str, str], **fields: Any) -> tuple[str, str, str]:
    receipt = submit({**HELLO, "attachments": list(files), **fields})
    assert isinstance(receipt, Refused)
    (error,) = receipt.errors
    return "/".join((error.field, *error.path)), error.code, error.detail


def links_of(mail: Mail) -> list[str]:
    return list(DownloadLink.objects.filter(mail=mail).values_list("filename", flat=True))


def attachments_of(mail: Mail) -> list[str]:
    return list(MailFile.objects.filter(mail=mail).values_list("filename", flat=True))


def test_a_file_beyond_the_limit_becomes_a_link(settings: Any) -> None:
    settings.MERCURY_LINK_EXPIRY = dt.timedelta(days=7)
    settings.MERCURY_LINK_DOWNLOADS = 3
    mail = send(file("harp.txt", 100), file("crown.txt", 101))
    assert attachments_of(mail) == ["harp.txt"]
    link = DownloadLink.objects.get(mail=mail)
    assert (link.filename, link.content_type, link.size) == ("crown.txt", "text/plain", 101)
    assert link.expires_at == mail.created_at + dt.timedelta(days=7)
    assert (link.downloads, link.max_downloads, link.revoked_at) == (0, 3, None)
    assert link.content_id == link.sha256 == hashlib.sha256((b"crown.txt" * 101)[:101]).hexdigest()
    assert FileContent.objects.count() == 2


def test_any_file_becomes_a_link_that_asks_for_it() -> None:
    mail = send(
        file("a.txt", 1, delivery="link"), file("b.txt", 1, delivery="attachment"), file("c.txt", 1, delivery="auto")
    )
    assert (links_of(mail), attachments_of(mail)) == (["a.txt"], ["b.txt", "c.txt"])
    assert mail.queue == "attachment"
    assert send(file("a.txt", 1, delivery="link")).queue == "text"


def test_of_attachments_that_are_too_large_together_the_largest_become_links() -> None:
    mail = send(file("a.txt", 80), file("b.txt", 90), file("c.txt", 85), file("d.txt", 70))
    assert (links_of(mail), attachments_of(mail)) == (["b.txt"], ["a.txt", "c.txt", "d.txt"])


def test_an_attachment_that_must_be_one_keeps_the_limits() -> None:
    place, code, words = refuse(file("a.txt", 101, delivery="attachment"))
    assert (place, code) == ("attachments/0/content", "too_large")
    assert "MERCURY_BASE_URL" not in words
    place, code, _ = refuse(*(file(f"{name}.txt", 90, delivery="attachment") for name in "abc"))
    assert (place, code) == ("attachments", "too_large")


def test_a_file_that_the_html_shows_is_no_link() -> None:
    html = {"html": '<img src="cid:crown">'}
    assert refuse(file("a.txt", 1, content_id="crown", delivery="link"), **html)[:2] == (
        "attachments/0/delivery",
        "inline_link",
    )
    assert refuse(file("a.txt", 101, content_id="crown"), **html)[:2] == ("attachments/0/content", "too_large")


def test_without_a_base_url_the_setting_is_named_and_nothing_is_stored(settings: Any) -> None:
    settings.MERCURY_BASE_URL = ""
    place, code, words = refuse(file("a.txt", 1, delivery="link"))
    assert (place, code) == ("attachments/0/delivery", "links_not_available")
    assert "MERCURY_BASE_URL" in words
    place, code, words = refuse(file("a.txt", 101))
    assert (place, code) == ("attachments/0/content", "too_large")
    assert "MERCURY_BASE_URL" in words
    assert not Mail.objects.exists()
    assert not FileContent.objects.exists()


@pytest.mark.parametrize("given", ["links", 1, ["link"]])
def test_another_delivery_is_refused(given: Any) -> None:
    assert refuse({**file("a.txt", 1), "delivery": given})[0] == "attachments/0/delivery"


def test_the_same_key_and_delivery_is_the_same_email_and_another_delivery_is_not() -> None:
    def ask(**more: str) -> Any:
        return submit({**HELLO, "attachments": [file("a.txt", 101, **more)]}, key="crown")

    first, again, plain = ask(delivery="link"), ask(delivery="link"), ask()
    assert isinstance(first, Stored)
    assert isinstance(again, Stored)
    assert (again.mail.pk, again.replayed) == (first.mail.pk, True)
    assert isinstance(plain, Refused)
    assert DownloadLink.objects.count() == 1


def test_the_email_has_the_link_in_text_and_html_and_the_same_bytes_each_time() -> None:
    sandbox_account("olympus")
    mail = send(file("crown & sons.txt", 2048), html="<html><body><p>Dear Hera</p></body></html>", content="Dear Hera")
    dispatch("html")
    assert reloaded(mail).status == "done"
    (kept,) = mailbox.load_page("olympus").mails
    received = email.message_from_bytes(mailbox.read_source("olympus", kept.key), policy=email.policy.default)
    link = DownloadLink.objects.get()
    text, html = (part.get_content() for part in received.walk() if part.get_content_maintype() == "text")
    url = f"{SITE}/files/{link_tokens.make_token(link.pk)}"
    until = f"2 kB, until {link.expires_at:%Y-%m-%d %H:%M} UTC"
    assert text.replace("\r\n", "\n") == f"Dear Hera\n\nFiles to download:\n\ncrown & sons.txt\n{until}\n{url}\n"
    assert f'<a href="{url}"><bdi>crown &amp; sons.txt</bdi></a><br>{until}</p></div></body></html>' in html
    assert mime.render_source(mail, mime.read_message(mail)) == mime.render_source(mail, mime.read_message(mail))
    assert mail.size < 2000  # the file is no part of it
