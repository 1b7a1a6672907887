"""Pictures of a captured email, in the frame that shows its HTML."""

import re
from email.message import EmailMessage

import pytest
from django.contrib.auth.models import User

from mails.tests.people import browser_of, hermes
from providers.sandbox import mailbox

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n..."


def capture(content: bytes = PNG) -> str:
    """Store an email with an inline picture, and return the URL of its page."""
    message = EmailMessage()
    message.set_content("Hi")
    message.add_alternative('<img src="cid:bolt" alt="A bolt">', subtype="html")
    body = message.get_body("html")
    assert body is not None
    body.add_related(content, "image", "png", cid="<bolt>")
    return f"/admin/sandbox/olympus/{mailbox.store('olympus', message.as_bytes())}/"


def find_picture(page: str) -> str:
    html = browser_of(hermes()).get(f"{page}html").text
    (picture,) = re.findall('src="([^"]+)"', html)
    return str(picture).replace("&amp;", "&")


def test_the_frame_shows_the_picture_without_a_session(client, olympus):
    page = capture()

    answer = client.get(find_picture(page))

    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, "image/png", PNG)
    assert client.get(f"{page}files/1/picture").status_code == 404


def test_what_only_claims_to_be_a_picture_is_not_shown(client, olympus):
    page = capture(b"<html><script>alert(1)</script>")

    assert client.get(find_picture(page)).status_code == 404
    assert browser_of(User.objects.get()).get(f"{page}files/1")["Content-Type"] == "application/octet-stream"


def test_a_picture_of_an_email_that_is_gone_is_not_found(client, olympus):
    picture = find_picture(capture())
    mailbox.clear("olympus")

    assert client.get(picture).status_code == 404
