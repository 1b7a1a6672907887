"""Amazon SES by its API v2: its account, what it can carry, its requests and its answers."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin

import orjson
from django.core.mail import EmailMessage
from yarl import URL

from mercury.lib.mail.name_address import extract_address
from providers.kinds.attachments import PROGRAMS, list_names, refuse_extensions
from providers.kinds.base import CA, MAX_CONNECTIONS, AccountUrl, Option, ProviderKind, Transport, build_api_url
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer, HttpApi, HttpRequest
from providers.kinds.name_value_tags import build_tags
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_in_words
from providers.reply_words import Topic
from providers.transports import mime

_REGIONS = """
    af-south-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2
    ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1 eu-central-1 eu-central-2
    eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1
    us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-1 us-west-2
"""
REGIONS = {region: f"https://email.{region}.amazonaws.com/" for region in _REGIONS.split()}
DEFAULT_REGION = "us-east-1"
_REGION = r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}"
_REGION_OF_HOST = re.compile(rf"\bemail(?:-fips)?\.({_REGION})\.")

_TOPICS = {
    "AccountSuspendedException": Topic.SUSPENDED,
    "SendingPausedException": Topic.SUSPENDED,
    "LimitExceededException": Topic.QUOTA,
    "MailFromDomainNotVerifiedException": Topic.IDENTITY,
    "NotFoundException": Topic.OPTIONS,
    "ServiceUnavailable": Topic.SYSTEM,
    "ServiceUnavailableException": Topic.SYSTEM,
    **dict.fromkeys(
        (
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        Topic.AUTHENTICATION,
    ),
}
_NAMES_OPTION = re.compile(r"\bconfiguration ?set", re.IGNORECASE)
_RECIPIENT_REJECTED = re.compile(
    r"\b(?:illegal address|invalid (?:e-?mail )?address|local address contains|missing (?:final|start of)"
    r"|(?:invalid )?domain (?:name|contains|starts|ends))",
    re.IGNORECASE,
)


class SesApi(HttpApi):
    """SES's outbound-emails for one account of one region. It gets the message as Mercury writes it."""

    accepted_status = 200

    def __init__(self, options: Mapping[str, Any]) -> None:
        # 70 ms and 5 MB of each process, which only the accounts of this kind need.
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        api_url = options["api_url"]
        found = _REGION_OF_HOST.search(api_url)
        region = options.get("signing_region") or (found[1] if found else DEFAULT_REGION)
        credentials = Credentials(
            options["access_key_id"], options["secret_access_key"], options.get("session_token") or None
        )
        self._url = urljoin(api_url.rstrip("/") + "/", "v2/email/outbound-emails")
        self._signer, self._open_request = SigV4Auth(credentials, "ses", region), AWSRequest
        self._configuration_set = options.get("configuration_set")

    def build_request(self, message: EmailMessage) -> HttpRequest:
        """Return the request, signed for the next minutes. Raises ValueError or TypeError if SES cannot carry the email."""
        refuse_extensions(list_names(message), PROGRAMS, "Amazon SES")
        _encode_address(message.from_email)
        recipients = {"ToAddresses": message.to, "CcAddresses": message.cc, "BccAddresses": message.bcc}
        document: dict[str, Any] = {
            "Destination": {kind: _encode_addresses(listed) for kind, listed in recipients.items() if listed},
            "Content": {"Raw": {"Data": base64.b64encode(_build_content(message)).decode()}},
        }
        if tags := build_tags(message):
            document["EmailTags"] = [{"Name": name, "Value": value} for name, value in tags.items()]
        if self._configuration_set:
            document["ConfigurationSetName"] = self._configuration_set
        return self._sign(orjson.dumps(document))

    def _sign(self, body: bytes) -> HttpRequest:
        request = self._open_request("POST", self._url, {"Content-Type": "application/json"}, body)
        self._signer.add_auth(request)
        return HttpRequest(url=self._url, headers=dict(request.headers.items()), body=body)

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of a `{"MessageId": …}`."""
        match answer.parse_json():
            case {"MessageId": str(name)} if name:
                return name
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the error's name, which is in a header or in the document, and its words."""
        return ": ".join(part for part in _read_error(answer) if part)

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the error's name is about; for two of them the words have to tell."""
        name, words = _read_error(answer)
        return Topic.OPTIONS if _NAMES_OPTION.search(words) else _TOPICS.get(name)

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that a refusal is about. SES says what is wrong with an address, and rarely with which."""
        name, words = _read_error(answer)
        if name != "BadRequestException":
            return NONE_REJECTED
        return find_in_words(words, recipients, rejection=_RECIPIENT_REJECTED)


def _build_content(message: EmailMessage) -> bytes:
    try:
        return mime.build_content(message)
    except LookupError as error:
        raise ValueError(f"The message cannot be written: {error}") from None


def _encode_addresses(recipients: Iterable[str]) -> list[str]:
    return [_encode_address(recipient) for recipient in recipients]


def _encode_address(recipient: str) -> str:
    """Return the address alone, with its domain in ASCII. Raises ValueError for other letters before the @."""
    local, _, domain = extract_address(recipient).rpartition("@")
    if not local.isascii():
        raise ValueError("Amazon SES carries no addresses with letters beyond ASCII before the @.")
    return f"{local}@{domain if domain.isascii() else URL.build(scheme='https', host=domain).raw_host}"


def _read_error(answer: HttpAnswer) -> tuple[str, str]:
    """Return name and words of an error, empty ones if the answer is none."""
    document = answer.parse_json()
    if not isinstance(document, dict):
        return "", ""
    name = answer.headers.get("X-Amzn-ErrorType") or document.get("__type")
    words = document.get("message") or document.get("Message")
    if not isinstance(name, str):
        return "", ""
    return name.partition(":")[0].rpartition("#")[2], words if isinstance(words, str) else ""


def _clean_region(value: str) -> str:
    if not re.fullmatch(_REGION, value):
        raise ValueError("It must be a region such as eu-west-1.")
    return value


def _read_url(url: AccountUrl) -> Mapping[str, Any]:
    return {"access_key_id": url.username, "secret_access_key": url.password}


SES = ProviderKind(
    key="ses",
    label="Amazon SES",
    transport=Transport.HTTP,
    api=SesApi,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.TAGS, Feature.METADATA},
        max_size=25_000_000,
        max_recipients=50,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=True,
        answers_per_recipient=False,
        reports_delivery=True,
    ),
    options=(
        Option(name="access_key_id", label="Access key ID", required=True),
        Option(name="secret_access_key", label="Secret access key", required=True, secret=True),
        Option(
            name="session_token",
            label="Session token",
            help="Of temporary credentials, which end after some hours.",
            secret=True,
            is_extra=True,
        ),
        Option(
            name="configuration_set",
            label="Configuration set",
            help="Its event destinations get the reports. Empty: the default of the sender's identity.",
        ),
        build_api_url(REGIONS[DEFAULT_REGION], "Another one for each region, and for an endpoint of your own network."),
        Option(
            name="signing_region",
            label="Signing region",
            help=f"Empty: the region in the API address, or {DEFAULT_REGION}.",
            is_extra=True,
            clean=_clean_region,
        ),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"ses": _read_url},
    regions=REGIONS,
    is_quota_rolling=True,
)
