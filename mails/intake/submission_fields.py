"""The fields of a submission. Each has its rule, which states what is wrong and how to correct it. Uses no database."""

import re
from typing import Any, NoReturn

from django.conf import settings
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.fields import empty

from mails.message.message import count_bytes
from mercury.lib.durations import format_size
from mercury.lib.mail import encoded_words, printable
from mercury.lib.moments import MomentError, parse_moment

MAX_SUBJECT = 512  # characters, CONTRACT v1.0
KEPT_OF_A_REJECTED = 4096  # characters of a text of an email that failed validation

_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_TYPES = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
# Marks that reorder text (UAX #9): with them a subject or an address reads differently from what it is.
_END_OF_ISOLATE = "\u2069"
_ISOLATES = "\u2066\u2067\u2068" + _END_OF_ISOLATE  # around a name or an amount with a direction of its own
MAX_HEADER = 2000  # characters of a header; a References holds some twenty ids
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

    def fail_type(self, value: object, wanted: str) -> NoReturn:
        """Raise ValidationError for a value of another JSON type."""
        self.fail("wrong_type", wanted=wanted, found=_JSON_TYPES.get(type(value), "something else"))

    def read_text(self, value: object, wanted: str = "text") -> str:
        """Return the value as text; null is empty."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fail_type(value, wanted)
        if not value.isascii() and _SURROGATE.search(value):
            raise build_error("forbidden_character", self.error_messages["half_character"])
        return value

    def read_header(self, value: object, wanted: str = "text", *, allowed: str = "") -> str:
        """Return text for a header: no character may end the line or change the reading direction.

        The same holds within encoded words (RFC 2047): they are sent as they are, and the recipient's program decodes them.
        """
        text = self.read_text(value, wanted)
        if is_plain(text):
            return text.strip()
        if mark := printable.find_unprintable(text + _read_encoded_words(text), allowed=printable.INVISIBLE + allowed):
            self.fail("forbidden_character", mark=printable.name_mark(mark))
        return text.strip()


class SubjectField(SubmissionField, serializers.CharField):
    """Text of a header."""

    default_error_messages = {
        "unbalanced": "It contains an isolate (U+2066 to U+2068) without its end (U+2069), or an end without its begin: "
        "what follows would be reversed. Write both, or none."
    }

    def to_internal_value(self, data: Any) -> str:
        """Return the subject."""
        text = self.read_header(data, allowed=printable.IMPLICIT_MARKS + _ISOLATES)
        if not is_plain(text) and not _are_readings_balanced(text):
            raise build_error("forbidden_character", self.error_messages["unbalanced"])
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
            raise build_error("forbidden_character", self.error_messages["nul"])
        if (size := count_bytes(text)) > settings.MERCURY_MAX_SIZE:
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
            self.fail("invalid", shown=shorten(text), choices=", ".join(self.choices))
        return text


class MomentField(SubmissionField, serializers.DateTimeField):
    """A point in time with its zone, or None."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the time in UTC; blank is absent, as a form sends it."""
        text = self.read_text(data, "a time as text, such as 2026-12-24T18:00:00Z").strip()
        if not text:
            return None
        try:
            return parse_moment(text)
        except MomentError as error:
            raise build_error(error.code, f"'{shorten(text)}' {error.fault}") from None


def is_plain(text: str) -> bool:
    """Return True if no mark and no encoded word is in the text: nothing that a header must not have."""
    return text.isascii() and text.isprintable() and "=?" not in text


def make_storable(value: object, limit: int) -> str:
    """Return a client's value as text that any database stores: no NUL, no lone surrogates, at most `limit` characters."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return _SURROGATE.sub("\ufffd", text[:limit]).replace("\0", "\ufffd")


def shorten(value: object) -> str:
    """Return a client's text as an error repeats it: short, on one line, in its own direction."""
    return printable.replace_unprintable(make_storable(value, _SHOWN), allowed="")


def build_error(code: str, detail: object) -> ValidationError:
    """Return an error of a field: a stable code, and what is wrong and how to correct it."""
    return ValidationError([ErrorDetail(str(detail), code)])


def _are_readings_balanced(text: str) -> bool:
    """Return True if the isolates are balanced in the text and in each reading of its encoded words."""
    readings = [text, *_read_encoded_words(text).split(printable.REPLACEMENT)]
    return all(map(_are_isolates_balanced, readings))


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
    return encoded_words.list_readings(text) if "=?" in text and len(text) <= MAX_HEADER else ""
