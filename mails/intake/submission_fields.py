"""The fields of a submission. Each has its rule, which states what is wrong and how to correct it. Uses no database."""

import re
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.fields import empty

from mails.message import addresses
from mails.message.addresses import InvalidAddress
from mails.message.message import MessageRecipient
from mails.states import RecipientKind
from mercury.lib.durations import format_size
from mercury.lib.mail import encoded_words, name_address, printable

MAX_SUBJECT = 512  # characters, CONTRACT v1.0
KEPT_OF_A_REJECTED = 4096  # characters of a text of an email that failed validation

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')  # RFC 5322 §3.2.3: these need quotes in a display name
_JSON_TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
_LINES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Marks that reorder text (UAX #9): with them a subject or an address reads differently from what it is.
_END_OF_ISOLATE = "\u2069"
_ISOLATES = "\u2066\u2067\u2068" + _END_OF_ISOLATE  # around a name or an amount with a direction of its own
_SHOWN = 80  # characters of a client's text that an error repeats


class SubmissionField(serializers.Field[Any, Any, Any, Any]):
    """A field of a submission. Its rule checks any value; absent and null are the same."""

    default_error_messages = {
        "wrong_type": "It must be {wanted}, not {found}.",
        "forbidden_character": "It contains the character {mark}, which a header may not contain; remove it.",
        "half_character": "It contains half of a surrogate pair, which is not a character.",
        "too_long": "It has {length} characters; at most {max_length} are allowed.",
    }

    def __init__(self, *, required: bool = False, **options: Any) -> None:
        super().__init__(required=required, allow_null=not required, **options)

    def run_validation(self, data: Any = empty) -> Any:
        """Return the valid value. Raises ValidationError."""
        return self.to_internal_value(None if data is empty else data)

    def keep(self, value: object) -> Any:
        """Return what is kept of a value if the email is rejected: the whole if it is valid, else nothing."""
        try:
            return self.run_validation(value)
        except ValidationError:
            return None

    def read_text(self, value: object, wanted: str = "text") -> str:
        """Return the value as text; null is empty."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fail("wrong_type", wanted=wanted, found=_JSON_TYPES.get(type(value), "something else"))
        if _SURROGATE.search(value):
            raise _build_error("forbidden_character", self.error_messages["half_character"])
        return value

    def read_header(self, value: object, wanted: str = "text", *, allowed: str = "") -> str:
        """Return text for a header: no character may end the line or change the reading direction.

        The same holds within encoded words (RFC 2047): they are sent as they are, and the recipient's program decodes them.
        """
        text = self.read_text(value, wanted)
        if mark := printable.find_unprintable(text + _read_encoded_words(text), allowed=printable.INVISIBLE + allowed):
            self.fail("forbidden_character", mark=printable.name_mark(mark))
        return text.strip()


class AddressField(SubmissionField, serializers.CharField):
    """One address, with or without a display name."""

    default_error_messages = {"required": "Give an address.", "several": "Give one address only."}
    max_length: int  # every declaration gives it

    def to_internal_value(self, data: Any) -> str:
        """Return the address in normal form, with its name; empty if there is none."""
        text = self.read_header(data, "one address")
        if not text:
            return self.fail("required") if self.required else ""
        if len(text) > self.max_length:
            self.fail("too_long", length=len(text), max_length=self.max_length)
        if found := name_address.split_name(text):
            return _format_named(*found)
        if len(addresses.split_addresses(text)) > 1:
            self.fail("several")
        return _normalize_address(text)

    def keep(self, value: object) -> str:
        """Return the beginning of the text."""
        return make_storable(value, self.max_length)


@extend_schema_field(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    component_name="Addresses",
)
class RecipientsField(SubmissionField):
    """One or more addresses."""

    default_error_messages = {
        "required": "Give at least one address that the email goes to.",
        "too_many": "{count} recipients; at most {most} are allowed.",
    }

    def __init__(self, *, kind: RecipientKind = RecipientKind.TO, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def to_internal_value(self, data: Any) -> tuple[MessageRecipient, ...]:
        """Return the recipients, their addresses in normal form, each once."""
        return tuple(MessageRecipient(address=address, kind=self.kind) for address in self._read_addresses(data))

    def keep(self, value: object) -> str:
        """Return the beginning of the addresses, as text: nobody is sent a rejected email."""
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        return make_storable(shown, KEPT_OF_A_REJECTED)

    def _read_addresses(self, data: Any) -> list[str]:
        if isinstance(data, list):
            parts = [self.read_header(item, "a list of addresses") for item in data]
        else:
            wanted = "an address, several separated by commas or spaces, or a list"
            parts = addresses.split_addresses(self.read_header(data, wanted))
        parts = list(dict.fromkeys(parts))
        if self.required and not parts:
            self.fail("required")
        if len(parts) > settings.MERCURY_MAX_RECIPIENTS:
            self.fail("too_many", count=len(parts), most=settings.MERCURY_MAX_RECIPIENTS)
        try:
            return list(dict.fromkeys(_normalize_address(part) for part in parts))
        except ValidationError as invalid:
            details: Any = invalid.detail
            (detail,) = details
            hint = " Spaces and commas separate addresses." if isinstance(data, str) and len(parts) > 1 else ""
            raise _build_error(detail.code, f"{detail}{hint}") from None


class SubjectField(SubmissionField, serializers.CharField):
    """Text of a header."""

    default_error_messages = {
        "unbalanced": "It contains an isolate (U+2066 to U+2068) without its end (U+2069), or an end without its begin: "
        "what follows would be reversed. Write both, or none."
    }

    def to_internal_value(self, data: Any) -> str:
        """Return the subject."""
        text = self.read_header(data, allowed=printable.IMPLICIT_MARKS + _ISOLATES)
        readings = [text, *_read_encoded_words(text).split(printable.REPLACEMENT)]  # each reading by itself
        if not all(map(_are_isolates_balanced, readings)):
            raise _build_error("forbidden_character", self.error_messages["unbalanced"])
        if len(text) > MAX_SUBJECT:
            self.fail("too_long", length=len(text), max_length=MAX_SUBJECT)
        return text

    def keep(self, value: object) -> str:
        """Return the beginning of the text."""
        return make_storable(value, MAX_SUBJECT)


class ContentField(SubmissionField, serializers.CharField):
    """A body, as plain text."""

    default_error_messages = {
        "nul": "It contains a NUL character; remove it.",
        "too_large": "It has {size}; at most {most} fit.",
    }

    def to_internal_value(self, data: Any) -> str:
        """Return the body."""
        text = self.read_text(data)
        if "\0" in text:
            raise _build_error("forbidden_character", self.error_messages["nul"])
        if (size := len(text.encode())) > settings.MERCURY_MAX_SIZE:
            self.fail("too_large", size=format_size(size), most=format_size(settings.MERCURY_MAX_SIZE))
        return text

    def keep(self, value: object) -> str:
        """Return the beginning of the text."""
        return make_storable(value, KEPT_OF_A_REJECTED)


class WordField(SubmissionField, serializers.ChoiceField):
    """One of a few words, or None for the default."""

    default_error_messages = {"invalid": "'{shown}' is not allowed. Write one of: {choices}; or omit the field."}

    def to_internal_value(self, data: Any) -> str | None:
        """Return the word."""
        if data is None:
            return None
        text = self.read_text(data)
        if text not in self.choices:
            self.fail("invalid", shown=_shorten(text), choices=", ".join(self.choices))
        return text


def make_storable(value: object, limit: int) -> str:
    """Return a client's value as text that any database stores: no NUL, no lone surrogates, at most `limit` characters."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return _SURROGATE.sub("\ufffd", text[:limit]).replace("\0", "\ufffd")


def _shorten(value: object) -> str:
    """Return a client's text as an error repeats it: short, on one line."""
    return _LINES.sub("\ufffd", make_storable(value, _SHOWN))


def _build_error(code: str, detail: object) -> ValidationError:
    return ValidationError([ErrorDetail(str(detail), code)])


def _are_isolates_balanced(text: str) -> bool:
    """Return True if each isolate (UAX #9) ends within the text, so that it reverses nothing after it."""
    depth = 0
    for mark in filter(_ISOLATES.__contains__, text):
        depth += -1 if mark == _END_OF_ISOLATE else 1
        if depth < 0:
            return False
    return depth == 0


def _read_encoded_words(text: str) -> str:
    """Return all that mail programs could read in its encoded words; empty for a text longer than any field allows."""
    return encoded_words.list_readings(text) if "=?" in text and len(text) <= MAX_SUBJECT else ""


def _format_named(name: str, address: str) -> str:
    """Return a sender with its display name, quoted where RFC 5322 §3.2.3 requires it."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    elif "@" in name or "," in name:
        raise _build_error("several", "Give one address only; put a name with a comma or an @ into double quotes.")
    checked = _normalize_address(address)
    if _SPECIALS.search(name):
        name = '"{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))
    return f"{name} <{checked}>" if name else checked


def _normalize_address(text: str) -> str:
    try:
        return addresses.normalize(text)
    except InvalidAddress as error:
        raise _build_error("invalid_address", f"'{_shorten(text)}' is not a valid email address. {error}") from None
