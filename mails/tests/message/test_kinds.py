"""Each kind of HTTP provider carries what it declares: each field of a message is in its request, or it is passed over.

A new kind is tested by being in the catalog.
"""

import base64
import binascii
import datetime as dt
import email
import email.policy
import json
import uuid
from dataclasses import replace
from email.header import decode_header, make_header
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import pytest

from mails.message.message import AttachmentReference, Mailbox, Message, MessageRecipient
from mails.message.mime import build_message
from mails.states import RecipientKind
from providers.kinds.base import ProviderKind, Transport
from providers.kinds.capabilities import Feature
from providers.kinds.catalog import KINDS
from providers.kinds.http_api import HttpRequest
from providers.kinds.options import clean_options

HTTP = [kind for kind in KINDS.values() if kind.transport is Transport.HTTP]
ID = uuid.UUID("01890c5e-0000-7000-8000-000000000001")
ACCEPTED_AT = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)
PDF, PNG = b"%PDF-1.7 a bill of 17 drachmas", b"\x89PNG\r\n\x1a\n the logo of olympus"
HERA = MessageRecipient(address="hera@olimpus.com", name="Hera, queen")
BARE = Message(
    sender='"Zeus" <zeus@olimpus.com>',
    recipients=(HERA,),
    subject="You made my day",
    text="The text of this email, twice as long as it needs to be.",
)
HTML = "<p>The HTML of this email, and <b>nothing</b> else.</p>"


def refer(filename: str, content_type: str, content: bytes, content_id: str = "") -> AttachmentReference:
    return AttachmentReference(
        filename=filename,
        content_type=content_type,
        size=len(content),
        sha256=sha256(content).hexdigest(),
        content_id=content_id,
    )


BILL = refer("bill.pdf", "application/pdf", PDF)
LOGO = refer("logo.png", "image/png", PNG, "logo-of-olympus")
CONTENTS = {BILL.sha256: PDF, LOGO.sha256: PNG}


def copy_to(kind: RecipientKind, address: str, name: str = "") -> tuple[MessageRecipient, ...]:
    return (HERA, MessageRecipient(kind=kind, address=address, name=name))


# Feature -> the changes that need it, and what has to be in the request then
CASES: dict[Feature, tuple[dict[str, Any], list[str | bytes]]] = {
    Feature.HTML: ({"html": HTML}, [HTML, BARE.text]),
    Feature.CC: ({"recipients": copy_to(RecipientKind.CC, "ares@olimpus.com", "Ares")}, ["ares@olimpus.com", "Ares"]),
    Feature.BCC: ({"recipients": copy_to(RecipientKind.BCC, "eris@olimpus.com")}, ["eris@olimpus.com"]),
    Feature.REPLY_TO: ({"reply_to": (Mailbox(address="zeus@ida.gr", name="Zeus at home"),)}, ["zeus@ida.gr"]),
    Feature.REPLY_TO_LIST: (
        {"reply_to": (Mailbox(address="zeus@ida.gr"), Mailbox(address="hermes@ida.gr"))},
        ["zeus@ida.gr", "hermes@ida.gr"],
    ),
    Feature.HEADERS: ({"headers": {"X-Order-Number": "order 4711"}}, ["X-Order-Number", "order 4711"]),
    Feature.HEADERS_UTF8: ({"headers": {"X-Order-Name": "Ἔρις"}}, ["X-Order-Name", "Ἔρις"]),
    Feature.UNSUBSCRIBE: (
        {"unsubscribe_url": "https://olimpus.com/leave?who=hera"},
        ["List-Unsubscribe", "<https://olimpus.com/leave?who=hera>", "List-Unsubscribe=One-Click"],
    ),
    Feature.ATTACHMENTS: ({"attachments": (BILL,)}, ["bill.pdf", PDF]),
    Feature.INLINE: (
        {"html": '<p>Look: <img src="cid:logo-of-olympus"></p>', "attachments": (LOGO,)},
        ["cid:logo-of-olympus", PNG],
    ),
    Feature.TAGS: ({"tags": ("welcome",)}, ["welcome"]),
    Feature.METADATA: ({"metadata": {"order": "4711"}}, ["order", "4711", str(ID)]),
    Feature.SMTPUTF8: ({"recipients": (MessageRecipient(address="ἥρα@olimpus.com"),)}, ["ἥρα@olimpus.com"]),
}


def build_request(kind: ProviderKind, message: Message) -> HttpRequest:
    needed = {option.name: _fill(kind, option.name) for option in kind.options if option.required}
    api = kind.open_api(clean_options(kind.key, needed))
    return api.build_request(build_message(ID, message, accepted_at=ACCEPTED_AT, contents=CONTENTS))


def _fill(kind: ProviderKind, option: str) -> str:
    found = kind.find_option(option)
    assert found is not None
    return found.choices[0] if found.choices else "https://api.olimpus.com/" if option == "api_url" else "a-key"


def read_texts(request: HttpRequest) -> list[bytes]:
    """Everything that the request says, each value as the provider reads it."""
    found = [request.body, *(value.encode() for value in request.headers.values())]
    content_type = request.headers.get("Content-Type", "")
    if content_type.startswith("application/x-www-form-urlencoded"):
        found += [text.encode() for pair in parse_qsl(request.body.decode()) for text in pair]
    elif not content_type.startswith("multipart/"):
        found += _read_values(json.loads(request.body))
    return [text for value in found for text in _decode(value)]


def _read_values(document: Any) -> list[bytes]:
    if isinstance(document, dict):
        return [text for name, value in document.items() for text in (name.encode(), *_read_values(value))]
    if isinstance(document, list):
        return [text for value in document for text in _read_values(value)]
    return [str(document).encode()]


def _decode(value: bytes) -> list[bytes]:
    """The value, what it is the base64 of, and the parts of the MIME message that this is."""
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return [value, *_read_json(value), *_read_encoded_words(value)]
    if b"\r\n\r\n" not in decoded:
        return [value, decoded]
    parsed = email.message_from_bytes(decoded, policy=email.policy.default)
    headers = [text.encode() for part in parsed.walk() for pair in part.items() for text in pair]
    bodies = [part.get_payload(decode=True) for part in parsed.walk() if not part.is_multipart()]
    return [value, decoded, *headers, *(body for body in bodies if isinstance(body, bytes))]


def _read_json(value: bytes) -> list[bytes]:
    """The values of a JSON document within a value: some providers take metadata that way."""
    try:
        return _read_values(json.loads(value)) if value.startswith(b"{") else []
    except ValueError:
        return []


def _read_encoded_words(value: bytes) -> list[bytes]:
    """The text of encoded words (RFC 2047), in which some providers take the value of a header."""
    if b"=?" not in value or len(value) > 1000:
        return []
    return [str(make_header(decode_header(value.decode()))).encode()]


def find_missing(request: HttpRequest, wanted: list[str | bytes]) -> list[str | bytes]:
    texts = read_texts(request)
    return [one for one in wanted if not any((one.encode() if isinstance(one, str) else one) in text for text in texts)]


def test_there_is_a_case_for_each_feature():
    assert set(CASES) == set(Feature)


@pytest.mark.parametrize("feature", Feature)
def test_a_message_says_which_feature_it_needs(feature):
    changes, _ = CASES[feature]

    assert feature not in BARE.traits.features
    assert feature in replace(BARE, **changes).traits.features


@pytest.mark.parametrize("feature", Feature)
@pytest.mark.parametrize("kind", HTTP, ids=lambda kind: kind.key)
def test_a_field_is_in_the_request_or_the_kind_is_passed_over(kind, feature):
    changes, wanted = CASES[feature]
    message = replace(BARE, **changes)
    missing = kind.capabilities.explain_missing(message.traits)

    if feature in kind.capabilities.features:
        assert missing == ""
        assert find_missing(build_request(kind, message), wanted) == []
    elif feature.is_required:
        assert feature.meaning in missing
    else:
        assert missing == ""
        build_request(kind, message)


@pytest.mark.parametrize("kind", HTTP, ids=lambda kind: kind.key)
def test_the_identity_of_an_email_is_in_each_request(kind):
    request = build_request(kind, BARE)
    has_room = not kind.capabilities.features.isdisjoint({Feature.METADATA, Feature.HEADERS})

    assert find_missing(request, [BARE.subject, "hera@olimpus.com", "zeus@olimpus.com"]) == []
    assert find_missing(request, [str(ID)] if has_room else []) == []
    assert request.body == build_request(kind, BARE).body, "two builds differ"


@pytest.mark.parametrize("kind", HTTP, ids=lambda kind: kind.key)
def test_a_text_alone_and_html_alone_are_carried(kind):
    assert kind.capabilities.explain_missing(BARE.traits) == ""
    assert find_missing(build_request(kind, BARE), [BARE.text]) == []
    assert find_missing(build_request(kind, replace(BARE, text="", html=HTML)), [HTML]) == []
