"""The fields of a submission that describe it: headers of its own, tags, metadata, how to unsubscribe. Uses no database."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from django.core.exceptions import ValidationError as InvalidUrl
from django.core.validators import URLValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from mails.intake.submission_fields import MAX_HEADER, SubmissionField, build_error, shorten
from mails.message import addresses
from mails.message.addresses import InvalidAddress
from mails.models.mail_label import MAX_LABEL_NAME, MAX_LABEL_VALUE
from mercury.lib.mail import printable

MAX_HEADERS, MAX_HEADER_NAME = 30, 64  # headers, and characters of a name
MAX_TAGS, MAX_TAG = 10, 64  # Mailgun takes ten
MAX_METADATA = 20
MAX_UNSUBSCRIBE = 800  # characters; with the header's name it fits on a line, which nothing may break within
_MAX_WORD = 900  # characters of a header between blanks, where alone a line may end (RFC 5322 §2.1.1)

_OWN_HEADER = re.compile(r"X-[A-Z0-9][A-Z0-9._-]*", re.IGNORECASE | re.ASCII)
_LIST_HEADER = re.compile(r"List-[A-Z]+(?:-[A-Z]+)*", re.IGNORECASE | re.ASCII)
_STANDARD = (
    *("In-Reply-To", "References", "Auto-Submitted", "Precedence", "Importance", "Priority", "Sensitivity"),
    *("Feedback-ID", "Thread-Topic", "Thread-Index", "Keywords", "Comments", "Organization"),
)
_STANDARD_NAMES = frozenset(map(str.lower, _STANDARD))
_ALLOWED = f"X-…, List-…, {', '.join(_STANDARD)}"
_OF_A_FIELD = {
    "from": "sender",
    "sender": "sender",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
    "subject": "subject",
    "reply-to": "reply_to",
}
# Instructions to the provider: with them an email could have other recipients, or another account's settings.
_STEERING = re.compile(
    r"x-(?:mercury|smtpapi|sg|mailgun|ses|pm|mc|mandrill|msys|mj|mailjet|mailin|sib|mailersend|resend)(?:-.*)?"
)
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+@=#-]*")
_METADATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MAILTO_QUERY = re.compile(r"(?:subject=[A-Za-z0-9._~!$'()*+:@/%-]*)?", re.IGNORECASE)
_is_https = URLValidator(schemes=["https"])


class TextsField(SubmissionField):
    """An object of texts, bounded in number and length. Each error names its entry."""

    default_error_messages = {
        "too_many": "{count} entries; at most {most} are allowed.",
        "entry_too_long": "It has {length} characters; at most {most} are allowed.",
    }
    wanted = "an object of texts"
    most = MAX_METADATA

    def to_internal_value(self, data: Any) -> Mapping[str, str]:
        """Return the texts by name. Raises ValidationError by name."""
        if data is None:
            return {}
        if not isinstance(data, dict):
            self.fail_type(data, self.wanted)
        if len(data) > self.most:
            self.fail("too_many", count=len(data), most=self.most)
        found, errors = dict[str, str](), dict[str, Any]()
        for name, value in data.items():
            try:
                found[name] = self.read_entry(name, value)
            except ValidationError as invalid:
                errors[shorten(name)] = invalid.detail
        if errors:
            raise ValidationError(errors)
        return found

    def read_entry(self, name: str, value: Any) -> str:
        """Return the valid value of an entry."""
        raise NotImplementedError

    def check_length(self, text: str, most: int) -> None:
        """Raise ValidationError for a text longer than this."""
        if len(text) > most:
            raise build_error("too_long", self.error_messages["entry_too_long"].format(length=len(text), most=most))


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}}, component_name="Headers")
class HeadersField(TextsField):
    """Headers of the sender's own, by a list of allowed shapes."""

    default_error_messages = {
        "reserved": "'{name}' is not a header of your own: use the field '{field}'.",
        "steering": "'{name}' would give an instruction to the provider, or is Mercury's own; leave it out.",
        "not_allowed": "'{name}' is not allowed. Allowed: {allowed}.",
        "repeated": "'{name}' is given twice; letters are the same in either case.",
        "empty": "It is empty; leave the header out.",
        "not_ascii": "It has the character {mark}; this header has ASCII characters only.",
        "long_word": "It has a word of {length} characters; a header has at most {most} between two blanks.",
    }
    wanted = "an object of headers and their texts"
    most = MAX_HEADERS

    def to_internal_value(self, data: Any) -> Mapping[str, str]:
        """Return the headers."""
        found = super().to_internal_value(data)
        names = {name.lower(): name for name in found}
        if len(names) < len(found):
            repeated = next(name for name in found if names[name.lower()] != name)
            raise ValidationError({repeated: build_error("repeated", self._say("repeated", name=repeated)).detail})
        if (post := names.get("list-unsubscribe-post")) and "https:" not in found.get(
            names.get("list-unsubscribe", ""), ""
        ):
            words = (
                "It needs a List-Unsubscribe with an https address (RFC 8058); the field 'unsubscribe_url' makes both."
            )
            raise ValidationError({post: build_error("not_allowed", words).detail})
        return found

    def read_entry(self, name: str, value: Any) -> str:
        """Return the valid value of a header."""
        self._check_name(name)
        text = self.read_header(value, allowed=printable.IMPLICIT_MARKS)
        if not text:
            raise build_error("empty", self._say("empty"))
        self.check_length(text, MAX_HEADER)
        if not name.lower().startswith("x-") and (marks := [mark for mark in text if not mark.isascii()]):
            raise build_error("forbidden_character", self._say("not_ascii", mark=printable.name_mark(marks[0])))
        if (longest := max(map(len, text.split()))) > _MAX_WORD:
            raise build_error("too_long", self._say("long_word", length=longest, most=_MAX_WORD))
        return text

    def _check_name(self, name: str) -> None:
        key, shown = name.lower(), shorten(name)
        if field := _OF_A_FIELD.get(key):
            raise build_error("reserved_header", self._say("reserved", name=shown, field=field))
        if _STEERING.fullmatch(key):
            raise build_error("reserved_header", self._say("steering", name=shown))
        if not (key in _STANDARD_NAMES or _LIST_HEADER.fullmatch(name) or _OWN_HEADER.fullmatch(name)):
            raise build_error("reserved_header", self._say("not_allowed", name=shown, allowed=_ALLOWED))
        self.check_length(name, MAX_HEADER_NAME)

    def _say(self, key: str, **values: Any) -> str:
        return str(self.error_messages[key]).format(**values)


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}}, component_name="Metadata")
class MetadataField(TextsField):
    """Texts that the client wants to find the email by, and gets back with it."""

    wanted = "an object of names and their texts"

    def read_entry(self, name: str, value: Any) -> str:
        """Return the valid value of an entry."""
        self.check_length(name, MAX_LABEL_NAME)
        if not _METADATA_NAME.fullmatch(name):
            words = f"'{shorten(name)}' is not a name. Use letters, digits, dots, dashes and underscores."
            raise build_error("invalid_name", words)
        if name.lower().startswith("mercury"):
            raise build_error("reserved_name", f"'{name}' is one of Mercury's own names; choose another.")
        if value is None:
            self.fail_type(value, "text")
        text = self.read_header(value)
        self.check_length(text, MAX_LABEL_VALUE)
        return text


@extend_schema_field(
    {"type": "array", "items": {"type": "string", "maxLength": MAX_TAG}, "maxItems": MAX_TAGS}, component_name="Tags"
)
class TagsField(SubmissionField):
    """Words that the client groups its emails by."""

    default_error_messages = {
        "too_many": "{count} tags; at most {most} are allowed.",
        "invalid": f"'{{shown}}' is not a tag: 1 to {MAX_TAG} letters, digits and - _ . : / + @ = #, no blanks; a letter or "
        "digit first.",
    }

    def to_internal_value(self, data: Any) -> tuple[str, ...]:
        """Return the tags, each once. Raises ValidationError by index."""
        if data is None:
            return ()
        if not isinstance(data, list):
            self.fail_type(data, "a list of words")
        if len(data) > MAX_TAGS:
            self.fail("too_many", count=len(data), most=MAX_TAGS)
        errors: dict[Any, Any] = {index: error for index, tag in enumerate(data) if (error := self._find_error(tag))}
        if errors:
            raise ValidationError(errors)
        return tuple(dict.fromkeys(data))

    def _find_error(self, tag: Any) -> list[ErrorDetail]:
        try:
            if tag is None:
                self.fail_type(tag, "a word")
            text = self.read_text(tag, "a word")
        except ValidationError as invalid:
            return invalid.detail  # type: ignore[return-value]  # `build_error` makes lists
        if len(text) <= MAX_TAG and _TAG.fullmatch(text):
            return []
        return [ErrorDetail(str(self.error_messages["invalid"]).format(shown=shorten(text)), "invalid_tag")]


class UnsubscribeUrlField(SubmissionField, serializers.CharField):
    """An address; a POST to it unsubscribes the recipient (RFC 8058)."""

    def to_internal_value(self, data: Any) -> str:
        """Return the address."""
        text = self.read_header(data, "an address that begins with https://")
        if len(text) > MAX_UNSUBSCRIBE:
            self.fail("too_long", length=len(text), max_length=MAX_UNSUBSCRIBE)
        if text and not _is_one_click(text):
            raise build_error(
                "invalid_url",
                f"'{shorten(text)}' is not an address for one click (RFC 8058): it begins with https://, has a public host, "
                "no user name, and everything beyond ASCII percent-encoded.",
            )
        return text


class UnsubscribeMailtoField(SubmissionField, serializers.CharField):
    """An email address; an email to it unsubscribes its sender (RFC 2369)."""

    def to_internal_value(self, data: Any) -> str:
        """Return the address and its subject, as they follow `mailto:`."""
        text = self.read_header(data, "an email address")
        if not text:
            return ""
        if len(text) > MAX_UNSUBSCRIBE:
            self.fail("too_long", length=len(text), max_length=MAX_UNSUBSCRIBE)
        address, _, query = re.sub("^mailto:", "", text, flags=re.IGNORECASE).partition("?")
        if not _MAILTO_QUERY.fullmatch(query) or not unquote(query).isprintable():
            words = f"'{shorten(query)}' cannot follow the address: only `?subject=…`, percent-encoded, in one line."
            raise build_error("invalid_mailto", words)
        try:
            local, _, domain = addresses.normalize(unquote(address)).rpartition("@")
        except InvalidAddress as error:
            raise build_error("invalid_address", f"'{shorten(text)}' is not an email address. {error}") from None
        return f"{quote(local, safe='!$&*+/=_.~-')}@{domain}" + (f"?{query}" if query else "")


def find_unsubscribe_headers(names: Iterable[str]) -> list[str]:
    """Return those of these headers that say how to unsubscribe."""
    return [name for name in names if name.lower() in ("list-unsubscribe", "list-unsubscribe-post")]


def _is_one_click(url: str) -> bool:
    if (
        not url.isascii()
        or any(mark in url for mark in '<>"{}|\\^` ')
        or "@" in url.partition("://")[2].partition("/")[0]
    ):
        return False
    try:
        _is_https(url)
    except InvalidUrl:
        return False
    return True
