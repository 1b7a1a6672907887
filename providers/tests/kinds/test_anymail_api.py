"""Requests that anymail builds, as the local provider reads them over real sockets."""

import base64
import json
from typing import Any

import pytest
from anymail.backends import mailgun
from django.core.mail import EmailAttachment

from mercury.lib.runtime import event_loop
from providers.kinds import anymail_api
from providers.kinds.anymail_api import ExactAttachment, fit_metadata, parse_addresses
from providers.kinds.mailgun import MailgunApi
from providers.outcomes import Accepted
from providers.tests.support import accounts
from providers.tests.support.local_provider import LocalProvider

BOTH = [accounts.sendgrid, accounts.mailgun]


def _send_and_read(build, message):
    async def scenario():
        async with LocalProvider() as provider:
            outcome = await accounts.send(build(provider), message)
            assert isinstance(outcome, Accepted), outcome
            return provider.received[0]

    return event_loop.run(scenario())


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


@pytest.mark.parametrize("build", BOTH)
def test_the_identity_of_a_mail_goes_along(build):
    received = _send_and_read(build, accounts.mail())

    assert received["message_id"] == f"<{accounts.MAIL_ID}@olimpus.com>"
    assert received["mail_id"] == accounts.MAIL_ID
    assert received["metadata"] == {"mercury_id": accounts.MAIL_ID}


@pytest.mark.parametrize("build", BOTH)
def test_text_in_any_language_arrives(build):
    received = _send_and_read(build, accounts.mail(subject="Grüße ⚡", body="Χαῖρε,\nἭρα & <b> 100 %"))

    assert (received["subject"], received["text"]) == ("Grüße ⚡", "Χαῖρε,\nἭρα & <b> 100 %")


@pytest.mark.parametrize("build", BOTH)
def test_several_recipients_are_one_call(build):
    received = _send_and_read(build, accounts.mail(to=["hera@olimpus.com", "iris@olimpus.com"]))

    assert received["to"] == ["hera@olimpus.com", "iris@olimpus.com"]


def test_attachments_are_not_lost_on_the_way():
    message = accounts.mail()
    message.attachments.append(EmailAttachment("hello.txt", b"Hi", "text/plain"))

    assert _send_and_read(accounts.mailgun, message)["files"] == ["hello.txt"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "to": ["Hera <hera@olimpus.com>", "iris@olimpus.com"],
            "cc": ["ares@olimpus.com"],
            "bcc": ["eris@olimpus.com"],
        },
        {"reply_to": ["zeus@ida.gr"], "headers": {"X-Mercury-ID": accounts.MAIL_ID, "List-Id": "<gods.olimpus.com>"}},
        {"headers": {"Reply-To": "Zeus <zeus@ida.gr>"}, "attachments": [("hello.txt", "Hi", "text/plain")]},
    ],
    ids=["plain", "recipients", "headers", "attachment"],
)
def test_a_request_is_the_one_that_anymail_makes(changes):
    api = MailgunApi({"api_key": "own", "api_url": "https://api.mailgun.net/v3", "sender_domain": None})
    message = accounts.mail(**changes)
    message.tags = ["welcome"]

    built, expected = (_read_params(payload, message, api) for payload in (api.payload_class, mailgun.MailgunPayload))

    assert built == expected


def _read_params(payload: type, message: Any, api: Any) -> dict[str, Any]:
    params: dict[str, Any] = payload(message, {}, api._backend).get_request_params(api._backend.api_url)
    return params


@pytest.mark.parametrize("build", BOTH)
def test_the_message_itself_is_not_changed(build):
    message = accounts.mail(body="")

    _send_and_read(build, message)

    assert (message.body, message.to) == ("", ["hera@olimpus.com"])


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("zeus@olimpus.com", [("", "zeus@olimpus.com")]),
        ("Zeus <zeus@olimpus.com>", [("Zeus", "zeus@olimpus.com")]),
        ('"King, Zeus" <zeus@olimpus.com>', [("King, Zeus", "zeus@olimpus.com")]),
        ("zeus+o'neil@mail.olimpus.com", [("", "zeus+o'neil@mail.olimpus.com")]),
        ('"a b"@olimpus.com', [("", '"a b"@olimpus.com')]),
        ("zeus@ολυμπος.gr", [("", "zeus@ολυμπος.gr")]),
    ],
)
def test_addresses_are_parsed_alike_with_and_without_the_short_cut(given, parsed):
    assert [(address.display_name, address.addr_spec) for address in parse_addresses(given)] == parsed


def test_global_settings_replace_nothing(settings):
    settings.ANYMAIL = {"SEND_DEFAULTS": {"tags": ["global"]}, "MAILGUN_SENDER_DOMAIN": "global.example"}
    settings.MAILGUN_API_KEY = "global"

    mailgun = MailgunApi({"api_key": "own", "api_url": "https://api.mailgun.net/v3", "sender_domain": None})

    request = mailgun.build_request(accounts.mail())
    assert (request.url, request.headers["Authorization"]) == (
        "https://api.mailgun.net/v3/olimpus.com/messages",
        "Basic YXBpOm93bg==",
    )
    assert b"o%3Atag" not in request.body


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=iso-8859-1", "image/svg+xml"])
def test_an_attachment_keeps_its_bytes_and_its_type(content_type):
    content = "Ζεύς;ä".encode("iso-8859-7", "replace")

    attachment = ExactAttachment(EmailAttachment("gods.csv", content, content_type))

    assert (attachment.content_bytes, attachment.content_type) == (content, content_type)
    assert attachment.mimetype == content_type.partition(";")[0]
    assert not attachment.inline


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        ({"size": 1000}, ["mercury_id", "order", "note", "god"]),
        ({"size": 1000, "most": 2}, ["mercury_id", "order"]),
        ({"size": 60}, ["mercury_id", "order", "god"]),
        ({"size": 30}, ["mercury_id"]),
    ],
)
def test_our_id_has_a_place_in_the_metadata_and_the_rest_if_it_fits(limits, names):
    metadata = {"order": "7", "note": "Ζεύς", "god": "Hera", "mercury_id": "0189"}

    fitting = fit_metadata(metadata, **limits)

    assert list(fitting) == names
    assert len(json.dumps(fitting)) <= limits["size"]


@pytest.mark.parametrize("size", [0, 3, anymail_api.SMALL, anymail_api.SMALL + 1])
def test_a_file_is_encoded_as_it_is_and_a_small_one_once(size):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    first, second = (ExactAttachment(EmailAttachment("seal.bin", content, "text/plain")) for _ in range(2))

    encoded = first.b64content_utf8

    assert base64.b64decode(encoded) == content
    assert (second.b64content is encoded) == (size <= anymail_api.SMALL)
