"""Postal: a server of one's own, what it can carry, its requests and its answers."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from django.core.mail import EmailMessage

from mercury.lib.mail.name_address import extract_address
from providers.kinds import cleaning
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, AccountUrl, Option, ProviderKind, Transport, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities
from providers.kinds.http_api import HttpAnswer, HttpApi, HttpRequest
from providers.kinds.rejected_recipients import RejectedRecipients
from providers.reply_words import Topic

MAX_RECIPIENTS = 50
# The codes of errors: status and topic that they stand for. All others are about the request.
_ERRORS: Mapping[str, tuple[int, Topic | None]] = {
    "AccessDenied": (401, Topic.AUTHENTICATION),
    "InvalidServerAPIKey": (401, Topic.AUTHENTICATION),
    "ServerSuspended": (403, Topic.SUSPENDED),
    "UnauthenticatedFromAddress": (403, Topic.IDENTITY),
}
_OTHER_ERROR = (422, None)


class PostalApi(HttpApi):
    """The legacy API of a Postal server, for one of its mail servers. It takes the very bytes of an email."""

    accepted_status = 200

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._url = f"{options['api_url'].rstrip('/')}/api/v1/send/raw"
        self._headers = {"X-Server-API-Key": options["api_key"], "Content-Type": "application/json"}

    def build_request(self, message: EmailMessage) -> HttpRequest:
        """Return the request. Raises ValueError, TypeError or LookupError if the email cannot be written."""
        document = {
            "mail_from": _encode_address(message.from_email),
            "rcpt_to": [_encode_address(recipient) for recipient in message.recipients()],
            "data": base64.b64encode(_build_source(message)).decode(),
        }
        return HttpRequest(url=self._url, headers=self._headers, body=orjson.dumps(document))

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the number of the first recipient's email."""
        results = _read_results(answer)
        numbers = [result.get("id") for result in results.values() if isinstance(result, dict)]
        return str(numbers[0]) if numbers and all(isinstance(number, int) for number in numbers) else None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return code and words of `{"status": "error", "data": {"code": …, "message": …}}`."""
        match answer.parse_json():
            case {"status": "error", "data": {"code": str(code), **data}}:
                return f"{code}: {data['message']}" if isinstance(data.get("message"), str) else code
            case {"status": "parameter-error", "data": {"message": str(words)}}:
                return f"parameter-error: {words}"
        return ""

    def read_status(self, answer: HttpAnswer) -> int:
        """Return the status that the code of an error stands for: Postal answers all with a 200."""
        return _find_error(answer)[0] if self.read_error(answer) else answer.status_code

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the code of an error is about."""
        return _find_error(answer)[1]

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients for whom Postal stored no email, of an answer that has emails of others."""
        stored = {address.lower() for address in _read_results(answer)}
        missing = [address for address in recipients if stored and _encode_address(address).lower() not in stored]
        return RejectedRecipients(reasons=dict.fromkeys(missing, "Postal stored no email for this recipient."))


def _read_results(answer: HttpAnswer) -> Mapping[str, Any]:
    """Return the emails that Postal stored, by recipient; empty if the document is another."""
    match answer.parse_json():
        case {"status": "success", "data": {"messages": dict(results)}}:
            return results
    return {}


def _find_error(answer: HttpAnswer) -> tuple[int, Topic | None]:
    match answer.parse_json():
        case {"status": "error", "data": {"code": str(code)}}:
            return _ERRORS.get(code, _OTHER_ERROR)
    return _OTHER_ERROR


def _build_source(message: EmailMessage) -> bytes:
    """Return the bytes of an email: the message knows how to write itself (`providers.transports.mime`)."""
    build: Callable[[], bytes] | None = getattr(message, "build_source", None)
    return build() if build else bytes(message.message().as_bytes(linesep="\r\n"))  # type: ignore[call-arg]  # Django's


def _encode_address(text: str) -> str:
    """Return the address of a sender or recipient, with its domain in ASCII. Raises ValueError for other letters beyond it."""
    local, _, domain = extract_address(text).rpartition("@")
    if not local.isascii():
        raise ValueError("Postal carries no addresses with letters beyond ASCII before the @.")
    return f"{local}@{domain if domain.isascii() else cleaning.clean_domain(domain)}"


def _clean_api_url(value: str) -> str:
    """Return the address without the path of the API."""
    return re.sub(r"/api/v\d+(/.*)?$", "", cleaning.clean_url(value)).rstrip("/")


def _read_url(url: AccountUrl) -> Mapping[str, Any]:
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host
    port = f":{url.port}" if url.port else ""
    return {**read_key(url), "api_url": f"https://{host}{port}" if host else None}


POSTAL = ProviderKind(
    key="postal",
    label="Postal",
    transport=Transport.HTTP,
    api=PostalApi,
    capabilities=Capabilities(
        features=IN_MIME,
        max_recipients=MAX_RECIPIENTS,
        keeps_message_id=True,
        sends_exact_bytes=True,
        shows_all_recipients=True,
        answers_per_recipient=True,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        Option(
            name="api_url",
            label="API address",
            help="That of your Postal server, such as https://postal.example.com.",
            required=True,
            is_destination=True,
            clean=_clean_api_url,
        ),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"postal": _read_url},
)
