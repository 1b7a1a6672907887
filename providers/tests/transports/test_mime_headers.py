"""Headers that Python's own policy writes wrong on a Python that Mercury runs on, and Mercury does not (docs/decisions.md)."""

import email
import email.policy
import sys
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import pytest

from providers.tests.support import accounts
from providers.transports import mime
from providers.transports.mime import OutgoingEmail

URL = f"<https://olimpus.com/unsubscribe?token={'u' * 90}>"
BLANKS = "é" + "  é" * 30
NAME = f"=?utf-8?q?iris=40olimpus=2Ecom=2C?= <hera@olimpus.com>, {'b' * 60}@olimpus.com"
MESSAGE_IDS = f"<{'a' * 60}@olimpus.com> <{'b' * 60}@olimpus.com>"
# gh-85725: an address within encoded words is none; gh-100991: nor is a message id. gh-92081: blanks between encoded words are
# none. gh-121284: a comma outside of quotes begins another recipient.
BROKEN = {"List-Unsubscribe": URL, "References": MESSAGE_IDS, "Subject": BLANKS, "To": NAME}


def read(content: bytes, name: str) -> object:
    """Return what a program reads that knows RFC 5322 and RFC 2047: the addresses of To, else text."""
    value = email.message_from_bytes(content, policy=email.policy.compat32)[name].replace("\r\n", "")
    if name == "To":
        return [address for _, address in getaddresses([value])]
    return str(make_header(decode_header(value))) if name == "Subject" else value


def write(name: str, value: str) -> bytes:
    """Return an email with this header as Mercury writes it."""
    fields = {"subject": value} if name == "Subject" else {"shown_to": [value]} if name == "To" else {}
    headers = {"Date": "Sun, 29 Nov 2026 00:39:25 +0000", "Message-ID": f"<{accounts.MAIL_ID}@olimpus.com>"}
    if not fields:
        headers[name] = value
    defaults = {"shown_to": ["hera@olimpus.com"], "subject": "Hi"}
    return mime.build_content(
        OutgoingEmail(**defaults | fields, from_email="zeus@olimpus.com", to=["hera@olimpus.com"], headers=headers)
    )


def write_by_policy(name: str, value: str) -> bytes:
    """Return an email with this header as Python's policy for SMTP writes it."""
    message = EmailMessage(policy=email.policy.SMTP)
    message[name] = value
    return message.as_bytes()


def expected(name: str, value: str) -> object:
    """Return what has to be read."""
    return ["hera@olimpus.com", "b" * 60 + "@olimpus.com"] if name == "To" else value


@pytest.mark.parametrize("name", BROKEN)
def test_a_header_is_read_as_it_was_written(name):
    assert read(write(name, BROKEN[name]), name) == expected(name, BROKEN[name])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the oldest Python that Mercury runs on decides")
@pytest.mark.parametrize("name", BROKEN)
def test_the_policy_of_this_python_still_writes_it_wrong(name):
    """Fails once no supported Python does: then `mime_headers` goes, and the policy writes the headers."""
    assert read(write_by_policy(name, BROKEN[name]), name) != expected(name, BROKEN[name])
