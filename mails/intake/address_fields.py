"""The fields of a submission that name mailboxes: sender, recipients, replies. Each has its rule. Uses no database."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from mails.intake.submission_fields import (
    KEPT_OF_A_REJECTED,
    SubmissionField,
    build_error,
    make_storable,
    shorten,
)
from mails.message import addresses
from mails.message.addresses import InvalidAddress
from mails.message.message import Mailbox, MessageRecipient
from mails.states import RecipientKind
from mercury.lib.mail import name_address

MAX_NAME = 256  # characters of a recipient's display name
MAX_REPLY_TO = 10  # addresses
_MAX_ERRORS = 20  # of one field; the rest of it is not read
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')  # RFC 5322 §3.2.3: these need quotes in a display name
_KEYS = {"email", "name"}
_FORMS = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "properties": {"email": {"type": "string"}, "name": {"type": ["string", "null"]}},
                        "required": ["email"],
                        "additionalProperties": False,
                    },
                ]
            },
        },
    ]
}


class AddressField(SubmissionField, serializers.CharField):
    """One address, with or without a display name."""

    default_error_messages = {"required": "Give an address.", "several": "Give one address only."}
    max_length: int  # every declaration gives it

    def to_internal_value(self, data: Any) -> str:
        """Return the address in normal form, with its name; empty if there is none."""
        if (plain := _read_plain_address(data)) and len(data) <= self.max_length:
            return plain
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


class MailboxesField(SubmissionField):
    """Addresses, with or without display names: a text, or a list of texts and of objects with `email` and `name`."""

    default_error_messages = {
        "too_many": "{count} addresses; at most {most} are allowed.",
        "email": 'Give the address: {{"email": …, "name": …}}.',
        "unknown_field": "There is no field '{shown}' here; write email and name.",
        "name_too_long": "The name has {length} characters; at most {most} are allowed.",
    }

    def get_limit(self) -> int:
        """Return how many addresses it may have."""
        return MAX_REPLY_TO

    def to_internal_value(self, data: Any) -> tuple[Mailbox, ...]:
        """Return the mailboxes, their addresses in normal form, each once. Raises ValidationError by index of a list."""
        if plain := _read_plain_address(data):
            return (Mailbox(address=plain),)
        if isinstance(data, list):
            found = self._read_each(data, self._read_item)
        else:
            wanted = "an address, several separated by commas or spaces, or a list"
            found = self._read_text(self.read_header(data, wanted))
        first: dict[str, Mailbox] = {}
        for mailbox in found:
            first.setdefault(mailbox.address, mailbox)
        return tuple(first.values())

    def _read_text(self, text: str) -> list[Mailbox]:
        parts = addresses.split_mailboxes(text)
        try:
            return self._read_each(parts, self._read_item if "<" in text else _read_plain)
        except ValidationError as invalid:
            details: Any = invalid.detail
            if not isinstance(details, dict):
                raise
            detail = next(iter(details.values()))[0]
            hint = " Spaces and commas separate addresses." if len(parts) > 1 and "<" not in text else ""
            raise build_error(detail.code, f"{detail}{hint}") from None

    def _read_each(self, items: Sequence[Any], read: Callable[[Any], Mailbox]) -> list[Mailbox]:
        """Read the items up to the limit, and _MAX_ERRORS errors of them; nothing of a list with too many."""
        most = self.get_limit()
        if len(items) > most and (count := len(set(map(_get_key, items)))) > most:
            self.fail("too_many", count=count, most=most)
        found, errors = list[Mailbox](), dict[Any, Any]()
        for index, item in enumerate(items):
            try:
                found.append(read(item))
            except ValidationError as invalid:
                errors[index] = invalid.detail
            if len(errors) == _MAX_ERRORS:
                break
        if errors:
            raise ValidationError(errors)
        return found

    def _read_item(self, item: Any) -> Mailbox:
        if not isinstance(item, dict):
            text = self.read_header(item, 'an address, or an object with "email" and "name"')
            if not (named := name_address.split_name(text)):
                return Mailbox(address=_normalize_address(text))
            return Mailbox(address=_normalize_address(named[1]), name=self._read_name(_read_display_name(named[0])))
        errors: dict[str, Any] = {}
        for shown in map(shorten, item.keys() - _KEYS):
            errors[shown] = [ErrorDetail(self.error_messages["unknown_field"].format(shown=shown), "unknown_field")]
        values = {}
        for key, read in (("email", self._read_email), ("name", self._read_name)):
            try:
                values[key] = read(item.get(key))
            except ValidationError as invalid:
                errors[key] = invalid.detail
        if errors:
            raise ValidationError(errors)
        return Mailbox(address=values["email"], name=values["name"])

    def _read_email(self, value: Any) -> str:
        if not (text := self.read_header(value, "an address")):
            raise build_error("required", self.error_messages["email"].format())
        return _normalize_address(text)

    def _read_name(self, value: Any) -> str:
        name = self.read_header(value)
        if len(name) > MAX_NAME:
            raise build_error("too_long", self.error_messages["name_too_long"].format(length=len(name), most=MAX_NAME))
        return name


@extend_schema_field(_FORMS, component_name="Addresses")
class RecipientsField(MailboxesField):
    """Recipients of one kind."""

    default_error_messages = {"too_many": "{count} recipients; at most {most} are allowed."}

    def __init__(self, *, kind: RecipientKind = RecipientKind.TO, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def get_limit(self) -> int:
        """Return how many recipients an email may have."""
        return settings.MERCURY_MAX_RECIPIENTS

    def to_internal_value(self, data: Any) -> tuple[MessageRecipient, ...]:
        """Return the recipients."""
        if plain := _read_plain_address(data):
            return (MessageRecipient(address=plain, kind=self.kind),)
        return tuple(
            MessageRecipient(address=mailbox.address, name=mailbox.name, kind=self.kind)
            for mailbox in super().to_internal_value(data)
        )

    def keep(self, value: object) -> str:
        """Return the beginning of the addresses, as text: nobody is sent a rejected email."""
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        return make_storable(shown, KEPT_OF_A_REJECTED)


@extend_schema_field(_FORMS)
class ReplyToField(MailboxesField):
    """Where replies go."""

    def keep(self, value: object) -> Any:
        """Return the addresses if all are valid, else nothing."""
        return SubmissionField.keep(self, value)


def _read_plain_address(data: Any) -> str:
    """Return the normal form of a value that is one address, and can be nothing else; else nothing: read on."""
    return addresses.normalize_plain(data) if isinstance(data, str) and "=?" not in data else ""


def _read_plain(address: str) -> Mailbox:
    return Mailbox(address=_normalize_address(address))


def _get_key(item: Any) -> str:
    """Return what tells an item of a list from the others, before it is read."""
    return str(item.get("email") if isinstance(item, dict) else item)


def _read_display_name(name: str) -> str:
    """Return a display name without its quotes."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    if "@" in name or "," in name:
        raise build_error("several", "Give one address only; put a name with a comma or an @ into double quotes.")
    return name


def _format_named(name: str, address: str) -> str:
    """Return a sender with its display name, quoted where RFC 5322 §3.2.3 requires it."""
    name, checked = _read_display_name(name), _normalize_address(address)
    if _SPECIALS.search(name):
        name = '"{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))
    return f"{name} <{checked}>" if name else checked


def _normalize_address(text: str) -> str:
    try:
        return addresses.normalize(text)
    except InvalidAddress as error:
        raise build_error("invalid_address", f"'{shorten(text)}' is not a valid email address. {error}") from None
