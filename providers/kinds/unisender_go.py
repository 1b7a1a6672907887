"""Unisender Go: its account, what it can carry, its requests and its answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from anymail.backends import unisender_go
from anymail.utils import Attachment

from providers.kinds import cleaning
from providers.kinds.anymail_api import (
    NO_GLOBAL_FALLBACK,
    SET_BY_PROVIDER,
    AnymailApi,
    LeanPayload,
    encode_headers,
    fit_metadata,
)
from providers.kinds.base import API_KEY, CA, MAX_CONNECTIONS, Option, ProviderKind, Transport, read_key
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature
from providers.kinds.http_api import HttpAnswer
from providers.kinds.rejected_recipients import RejectedRecipients
from providers.reply_words import Topic

MAX_RECIPIENTS = 10  # in To, and in Cc
MAX_METADATA, MAX_METADATA_SIZE = 10, 10_000  # names, and bytes of JSON
MAX_TAGS, MAX_TAG = 4, 50  # tags, and characters of one
_OTHER_ACCOUNT = 114  # code: the key belongs to an account of another data centre


class UnisenderGoPayload(LeanPayload, unisender_go.UnisenderGoPayload):  # type: ignore[misc]
    """Unisender Go's payload: bodies go out as they were written."""

    never_empty = frozenset({"subject", "body"})

    def init_payload(self) -> None:
        """Begin the document. Without a template engine, nothing that looks like a variable is replaced."""
        super().init_payload()
        self.data["template_engine"] = "none"

    def set_extra_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers. Raises AnymailUnsupportedFeature for one that Unisender Go leaves out without a word."""
        encoded = encode_headers(headers, without=SET_BY_PROVIDER)
        for name in encoded:
            if not name.lower().startswith("x-"):
                self.unsupported_feature(f"the header {name}")
        super().set_extra_headers(encoded)

    def set_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Set the attachments. Raises AnymailUnsupportedFeature for a name that Unisender Go refuses."""
        if any("/" in ((attachment.cid if attachment.inline else attachment.name) or "") for attachment in attachments):
            self.unsupported_feature("/ in the name of an attachment")
        super().set_attachments(attachments)

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Set our id, and of the rest what there is room for."""
        super().set_metadata(fit_metadata(metadata, size=MAX_METADATA_SIZE, most=MAX_METADATA))

    def set_tags(self, tags: Sequence[str]) -> None:
        """Set the first tags that fit."""
        super().set_tags([tag for tag in tags if len(tag) <= MAX_TAG][:MAX_TAGS])


class UnisenderGoApi(AnymailApi):
    """Unisender Go's web API for one account or project."""

    accepted_status = 200
    payload_class = UnisenderGoPayload

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(
            unisender_go.EmailBackend(
                api_key=options["api_key"],
                api_url=options["api_url"],
                generate_message_id=False,  # another one at each build; our id is in the metadata
                workaround_display_name_bugs=True,
                **NO_GLOBAL_FALLBACK,
            )
        )

    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the id of the job of a `{"status": "success", "job_id": …, "emails": […]}`."""
        match answer.parse_json():
            case {"status": "success", "job_id": str(name), "emails": [*_]}:
                return name
        return None

    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of a `{"status": "error", "message": …, "code": …}`."""
        match answer.parse_json():
            case {"status": "error", "message": str(words)}:
                return words
        return ""

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the code of an error is about."""
        match answer.parse_json():
            case {"status": "error", "code": int(code)} if code == _OTHER_ACCOUNT:
                return Topic.AUTHENTICATION
        return None

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients in `failed_emails`, except a second spelling of one that gets the email."""
        document = answer.parse_json()
        failed = document.get("failed_emails") if isinstance(document, dict) else None
        listed = failed.items() if isinstance(failed, dict) else ()
        return RejectedRecipients(
            reasons={address: f"Unisender Go: {code}" for address, code in listed if code != "duplicate"}
        )


_REGIONS = {
    name: f"https://{name}.unisender.ru/ru/transactional/api/v1/" for name in ("go1", "go2")
}  # the data centre that the account belongs to
UNISENDER_GO = ProviderKind(
    key="unisender_go",
    label="Unisender Go",
    transport=Transport.HTTP,
    api=UnisenderGoApi,
    capabilities=Capabilities(
        features=(IN_MIME - {Feature.BCC, Feature.REPLY_TO_LIST, Feature.UNSUBSCRIBE})
        | {Feature.TAGS, Feature.METADATA},
        max_size=10_000_000,
        max_recipients=MAX_RECIPIENTS,
        never_empty=UnisenderGoPayload.never_empty,
        keeps_message_id=False,
        sends_exact_bytes=False,
        shows_all_recipients=False,
        answers_per_recipient=True,
        reports_delivery=True,
    ),
    options=(
        API_KEY,
        Option(
            name="api_url",
            label="API address",
            help=f"That of the account's data centre: {' or '.join(_REGIONS.values())}.",
            required=True,
            is_destination=True,
            clean=cleaning.clean_url,
        ),
        MAX_CONNECTIONS,
        CA,
    ),
    schemes={"unisender-go": read_key},
    regions=_REGIONS,
)
