"""Amazon SES: its requests and its answers. The answers of docs/providers/ses.md are tested by `test_docs`.

Requests are checked against the description of the API that comes with botocore, and signatures computed a second time.
"""

import base64
import hashlib
import hmac
import json
import re
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.validate import ParamValidator

from mercury.lib.runtime import event_loop
from providers.accounts.environment import parse_account
from providers.kinds.base import OptionsInvalid
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.kinds.ses import DEFAULT_REGION, REGIONS, SES
from providers.tests.support import accounts, messages
from providers.tests.support.messages import HERA, IRIS
from providers.tests.support.scripted_api import ScriptedApi
from providers.transports import mime

KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


@pytest.fixture(scope="module")
def operation():
    """Amazon's description of the operation."""
    return botocore.session.get_session().get_service_model("sesv2").operation_model("SendEmail")


def _open(**options):
    return SES.open_api(clean_options("ses", {**KEY, **options}))


@pytest.fixture
def api():
    return _open()


def _build(api, message):
    return json.loads(api.build_request(message).body)


def _answer(document, status=400, headers=None):
    return HttpAnswer(status_code=status, headers=headers or {}, content=json.dumps(document).encode())


def _sign(request, region):
    """Return the Authorization of a request as Amazon's documentation of version 4 says, without botocore."""
    url, headers = urlsplit(request.url), {name.lower(): value for name, value in request.headers.items()}
    headers["host"] = url.netloc
    signed = sorted(name for name in headers if name not in ("authorization", "user-agent"))
    canonical = "\n".join(
        [
            request.method,
            url.path,
            "",
            *(f"{name}:{headers[name].strip()}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    scope = f"{headers['x-amz-date'][:8]}/{region}/ses/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{KEY['secret_access_key']}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, digest])
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    return (
        f"AWS4-HMAC-SHA256 Credential={KEY['access_key_id']}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={signature}"
    )


@pytest.mark.parametrize("message", [messages.build_bare(), messages.build_whole()], ids=["bare", "whole"])
def test_a_request_is_as_amazon_describes_it(operation, message):
    document = _build(_open(configuration_set="gods"), message)

    assert ParamValidator().validate(document, operation.input_shape).generate_report() == ""
    assert (operation.http["method"], operation.http["requestUri"]) == ("POST", "/v2/email/outbound-emails")


def test_every_field_is_in_the_request(api):
    message = messages.build_whole()

    request = api.build_request(message)

    assert (request.method, request.url) == ("POST", "https://email.us-east-1.amazonaws.com/v2/email/outbound-emails")
    document = json.loads(request.body)
    assert base64.b64decode(document.pop("Content")["Raw"]["Data"]) == mime.build_content(message)
    assert document == {
        "Destination": {
            "ToAddresses": [HERA, IRIS],
            "CcAddresses": ["ares@olimpus.com"],
            "BccAddresses": ["eris@olimpus.com"],
        },
        "EmailTags": [
            {"Name": "mercury_id", "Value": accounts.MAIL_ID},
            {"Name": "order", "Value": "7"},
            {"Name": "tag", "Value": "welcome"},
            {"Name": "tag_2", "Value": "gods"},
        ],
    }


def test_blind_copies_tags_and_metadata_are_not_in_the_message(api):
    content = base64.b64decode(_build(api, messages.build_whole())["Content"]["Raw"]["Data"])

    assert not re.search(rb"eris|welcome|mercury_id", content)


def test_a_request_for_some_names_all_in_to_and_cc(api):
    part = mime.narrow(messages.build_whole(), ["eris@olimpus.com"])

    document = _build(api, part)

    assert document["Destination"] == {"ToAddresses": ["eris@olimpus.com"]}
    content = base64.b64decode(document["Content"]["Raw"]["Data"])
    assert b"\r\nTo: " in content
    assert b"hera@olimpus.com" in content
    assert b"eris" not in content


def test_an_account_may_have_a_configuration_set():
    assert _build(_open(configuration_set="gods"), messages.build_bare())["ConfigurationSetName"] == "gods"


@pytest.mark.parametrize(
    ("options", "region"),
    [
        ({}, DEFAULT_REGION),
        ({"api_url": REGIONS["eu-west-1"]}, "eu-west-1"),
        ({"api_url": "https://email-fips.us-gov-west-1.amazonaws.com"}, "us-gov-west-1"),
        ({"api_url": "https://vpce-1.email.ap-southeast-2.vpce.amazonaws.com/"}, "ap-southeast-2"),
        ({"api_url": "https://mail.olimpus.com:8443/aws/"}, DEFAULT_REGION),
        ({"api_url": "https://mail.olimpus.com/", "signing_region": "eu-south-2"}, "eu-south-2"),
        ({"session_token": "FwoGZXIvYXdz"}, DEFAULT_REGION),
    ],
)
def test_a_signature_is_the_one_that_amazon_computes(options, region):
    request = _open(**options).build_request(messages.build_whole())

    assert request.headers["Authorization"] == _sign(request, region)
    assert request.headers.get("X-Amz-Security-Token") == options.get("session_token")


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_of_a_url_has_its_address_and_signature(region):
    secret = KEY["secret_access_key"].replace("/", "%2F")

    account = parse_account("hades", f"ses://{KEY['access_key_id']}:{secret}@?region={region}")
    request = SES.open_api(account.options).build_request(messages.build_bare())

    assert request.url == f"https://email.{region}.amazonaws.com/v2/email/outbound-emails"
    assert request.headers["Authorization"] == _sign(request, region)


def test_a_signing_region_has_the_form_of_one():
    with pytest.raises(OptionsInvalid) as caught:
        clean_options("ses", {**KEY, "signing_region": "Europe"})

    assert list(caught.value.errors) == ["signing_region"]


def test_international_domains_are_sent_in_ascii(api):
    document = _build(api, messages.build_bare(to=["Ἥρα <hera@bücher.example>"], from_email="zeus@bücher.example"))

    assert document["Destination"] == {"ToAddresses": ["hera@xn--bcher-kva.example"]}
    assert b"From: zeus@xn--bcher-kva.example\r\n" in base64.b64decode(document["Content"]["Raw"]["Data"])


@pytest.mark.parametrize(
    "changes", [{"to": ["ἥρα@olimpus.com"]}, {"bcc": ["ἥρα@olimpus.com"]}, {"from_email": "ζεύς@olimpus.com"}]
)
def test_letters_before_the_at_are_refused_before_the_call(api, changes):
    with pytest.raises(ValueError, match="letters beyond ASCII"):
        api.build_request(messages.build_bare(**changes))


def test_a_program_is_refused_before_the_call(api):
    message = messages.build_whole()
    message.attach("setup.exe", b"MZ", "application/octet-stream")

    with pytest.raises(ValueError, match=r"Amazon SES carries no attachments of the type \.exe"):
        api.build_request(message)


def test_a_message_that_cannot_be_written_is_refused_before_the_call(api):
    message = messages.build_bare()
    message.encoding = "no-charset"

    with pytest.raises(ValueError, match="cannot be written"):
        api.build_request(message)


@pytest.mark.parametrize("document", [{"MessageId": ""}, {"MessageId": 7}, {}, ["0100018c"], None])
def test_another_document_accepts_nothing(api, document):
    assert api.read_message_id(_answer(document, 200)) is None


@pytest.mark.parametrize(
    ("headers", "document", "words"),
    [
        ({"X-Amzn-ErrorType": "MessageRejected"}, {"message": "No"}, "MessageRejected: No"),
        ({"X-Amzn-ErrorType": "MessageRejected:http://amazon.com/"}, {"Message": "No"}, "MessageRejected: No"),
        ({}, {"__type": "com.amazonaws.sesv2#MessageRejected", "message": "No"}, "MessageRejected: No"),
        ({"X-Amzn-ErrorType": "MessageRejected"}, {"message": None}, "MessageRejected"),
        ({}, {"message": "from somebody else"}, ""),
        ({"X-Amzn-ErrorType": "MessageRejected"}, ["No"], ""),
    ],
)
def test_the_name_of_an_error_is_in_a_header_or_in_the_document(api, headers, document, words):
    assert api.read_error(_answer(document, headers=headers)) == words


def test_each_error_that_amazon_describes_is_known(api, operation):
    """Those without a topic are about the message, unless their words say otherwise."""
    unknown = {
        shape.name
        for shape in operation.error_shapes
        if api.read_topic(_answer({"__type": shape.name, "message": "No"})) is None
    }

    assert unknown == {"TooManyRequestsException", "MessageRejected", "BadRequestException"}


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("BadRequestException", "Missing final '@domain'", RejectedRecipients(reasons={}, has_unnamed=True)),
        ("BadRequestException", f"Illegal address: {IRIS}", RejectedRecipients(reasons={IRIS: "…"}, has_unnamed=True)),
        ("BadRequestException", "Domain contains dot-dot", RejectedRecipients(reasons={}, has_unnamed=True)),
        ("BadRequestException", "The message is empty", NONE_REJECTED),
        ("MessageRejected", f"Email address is not verified: {IRIS}", NONE_REJECTED),
    ],
)
def test_an_error_is_about_recipients_if_it_says_so(api, name, message, expected):
    rejected = api.find_rejected(_answer({"__type": name, "message": message}), [HERA, IRIS])

    assert (set(rejected.reasons), rejected.has_unnamed) == (set(expected.reasons), expected.has_unnamed)


def test_an_account_sends_a_signed_request(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedApi(200, '{"MessageId": "0100018c"}') as provider:
            return await provider.send(SES, messages.build_whole(), **KEY), provider.received[0]

    outcome, received = event_loop.run(scenario())

    assert outcome.provider_message_id == "0100018c"
    assert received.headers["Authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY['access_key_id']}/")
    assert "host" in received.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
