"""What a client hands in, and the one rule book that API, form and command share. Touches no database."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings

from mails.lanes import Lane
from mails.message import addresses
from mails.message.addresses import AddressInvalid
from mails.states import Policy
from mercury.lib.durations import size_words
from mercury.lib.mail import encoded_words, name_address, printable

MAX_SENDER = 256  # characters, CONTRACT v1.0
MAX_SUBJECT = 512
MAX_IDEMPOTENCY_KEY = 255
FIELDS = ("sender", "recipient", "recipients", "subject", "content", "policy", "lane")
LANES = (Lane.BULK.value,)  # that a client may ask for; the others follow from what the mail carries
IGNORED = frozenset({"id", "url", "events"})  # so that a mail read from the API can be posted again

# Marks that reorder text (UAX #9): with them a subject or an address reads other than it is.
_SURROGATE = re.compile("[\ud800-\udfff]")
Out = TypeVar("Out")
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')  # RFC 5322 §3.2.3: these need quotes in a display name
_JSON_TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
_LINES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_END_OF_ISOLATE = "\u2069"
_ISOLATES = "\u2066\u2067\u2068" + _END_OF_ISOLATE  # around a name or an amount whose direction is its own
_UNBALANCED = (
    "It contains an isolate (U+2066 to U+2068) without its end (U+2069), or an end without its begin: "
    "what follows would be turned around. Write both, or none."
)
_SHOWN = 80  # characters of a client's text that an error repeats


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of a submission: the field, a stable code, and what is wrong and how to mend it."""

    field: str
    code: str
    detail: str


class InvalidSubmission(Exception):
    """The submission breaks the rule book; `errors` names each field. `mail_id` is the rejected mail's, once kept."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.errors = errors
        self.mail_id: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid mail, as it will be stored."""

    sender: str  # an address, with or without a display name
    recipients: tuple[str, ...]  # addresses, each once
    subject: str
    text: str
    policy: Policy
    lane: Lane

    @property
    def size(self) -> int:
        """Bytes of subject and text, in UTF-8."""
        return _bytes(self.subject) + _bytes(self.text)


class _Fault(Exception):
    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail


def parse(data: Mapping[str, object]) -> Submission:
    """Check a submission against every rule and return it.

    Raises InvalidSubmission with all faults found, not only the first. An unknown field is a fault, so that a
    misspelt one does not vanish in silence.
    """
    errors = _unknown_fields(data)
    sender = _checked("sender", _sender, data.get("sender"), errors)
    recipients = _checked("recipient", _recipients, data, errors)
    subject = _checked("subject", _subject, data.get("subject"), errors)
    text = _checked("content", _text, data.get("content"), errors)
    policy = _checked("policy", _policy, data.get("policy"), errors)
    lane = _checked("lane", _lane, data.get("lane"), errors)
    if (
        errors
        or sender is None
        or recipients is None
        or lane is None
        or subject is None
        or text is None
        or policy is None
    ):
        raise InvalidSubmission(tuple(errors))
    return Submission(sender, recipients, subject, text, policy, lane)


def legible(value: object, limit: int) -> str:
    """Whatever a client sent as text that any database stores: no NUL, no lone surrogates, at most `limit` long."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return _SURROGATE.sub("\ufffd", text[:limit]).replace("\0", "\ufffd")


def _shown(value: object) -> str:
    """A client's text as an error repeats it: short, on one line."""
    return _LINES.sub("\ufffd", legible(value, _SHOWN))


def _checked(field: str, rule: Callable[[Any], Out], value: object, errors: list[FieldError]) -> Out | None:
    try:
        return rule(value)
    except _Fault as fault:
        errors.append(FieldError(field, fault.code, fault.detail))
        return None


def _unknown_fields(data: Mapping[str, object]) -> list[FieldError]:
    errors = []
    for name in data:
        if name in FIELDS or name in IGNORED:
            continue
        shown = _shown(name)
        close = difflib.get_close_matches(shown, FIELDS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else f" Known fields: {', '.join(FIELDS)}."
        errors.append(FieldError(shown, "unknown_field", f"There is no field '{shown}'.{hint}"))
        if len(errors) == 20:
            break
    return errors


def _sender(value: object) -> str:
    text = _header_text(value, "one address")
    if not text:
        raise _Fault("required", "Give the address that the mail comes from.")
    if len(text) > MAX_SENDER:
        raise _Fault("too_long", f"It has {len(text)} characters; at most {MAX_SENDER} are possible.")
    if found := name_address.split_name(text):
        return _named(*found)
    if len(addresses.split(text)) > 1:
        raise _Fault("several", "Give one address only; a mail has one sender.")
    return _address(text)


def _recipients(data: Mapping[str, object]) -> tuple[str, ...]:
    if data.get("recipient") is not None and data.get("recipients") is not None:
        raise _Fault("ambiguous", "Give 'recipient' or 'recipients', not both: they are two names of one field.")
    value = data.get("recipient") if data.get("recipient") is not None else data.get("recipients")
    if isinstance(value, list):
        parts = [_header_text(item, "a list of addresses") for item in value]
    else:
        parts = addresses.split(_header_text(value, "an address, several separated by commas or spaces, or a list"))
    parts = list(dict.fromkeys(parts))
    if not parts:
        raise _Fault("required", "Give at least one address that the mail goes to.")
    if len(parts) > settings.MERCURY_MAX_RECIPIENTS:
        raise _Fault("too_many", f"{len(parts)} recipients; at most {settings.MERCURY_MAX_RECIPIENTS} are possible.")
    try:
        return tuple(dict.fromkeys(_address(part) for part in parts))
    except _Fault as fault:
        hint = " Spaces and commas separate addresses." if isinstance(value, str) and len(parts) > 1 else ""
        raise _Fault(fault.code, f"{fault.detail}{hint}") from None


def _subject(value: object) -> str:
    text = _header_text(value, "text", allowed=printable.IMPLICIT_MARKS + _ISOLATES)
    readings = [text, *_encoded_words(text).split(printable.REPLACEMENT)]  # each reading by itself
    if not all(map(_isolates_are_balanced, readings)):
        raise _Fault("forbidden_character", _UNBALANCED)
    if len(text) > MAX_SUBJECT:
        raise _Fault("too_long", f"It has {len(text)} characters; at most {MAX_SUBJECT} are possible.")
    return text


def _text(value: object) -> str:
    text = _string(value, "text")
    if "\0" in text:
        raise _Fault("forbidden_character", "It contains a NUL character; take it out.")
    if (size := _bytes(text)) > settings.MERCURY_MAX_SIZE:
        raise _Fault("too_large", f"It has {size_words(size)}; at most {size_words(settings.MERCURY_MAX_SIZE)} fit.")
    return text


def _policy(value: object) -> Policy:
    text = settings.MERCURY_DELIVERY_GUARANTEE if value is None else _string(value, "text")
    if text not in Policy.values:
        raise _Fault("invalid", f"'{_shown(text)}' is no policy. Known: {', '.join(Policy.values)}.")
    return Policy(text)


def _lane(value: object) -> Lane:
    if value is None:
        return Lane.TEXT
    text = _string(value, "text")
    if text not in LANES:
        raise _Fault("invalid", f"'{_shown(text)}' is no lane to ask for. Leave the field out, or write '{LANES[0]}'.")
    return Lane(text)


def _string(value: object, wanted: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Fault("wrong_type", f"It must be {wanted}, not {_JSON_TYPES.get(type(value), 'something else')}.")
    if _SURROGATE.search(value):
        raise _Fault("forbidden_character", "It contains half of a surrogate pair, which is no character.")
    return value


def _header_text(value: object, wanted: str, *, allowed: str = "") -> str:
    """Text that ends up in a header: no character there may end the line or turn the reading direction.

    Nor as an encoded word (RFC 2047): it passes as it is, and the recipient's program reads it.
    """
    text = _string(value, wanted)
    if mark := printable.find_unprintable(text + _encoded_words(text), allowed=printable.INVISIBLE + allowed):
        raise _Fault(
            "forbidden_character",
            f"It contains the character {printable.name_mark(mark)}, which may not stand in a header; take it out.",
        )
    return text.strip()


def _isolates_are_balanced(text: str) -> bool:
    """Return True if each isolate (UAX #9) ends within the text, so that it turns around nothing that stands after it."""
    depth = 0
    for mark in filter(_ISOLATES.__contains__, text):
        depth += -1 if mark == _END_OF_ISOLATE else 1
        if depth < 0:
            return False
    return depth == 0


def _encoded_words(text: str) -> str:
    """Return all that mail programs could read in its encoded words. Longer texts than any field takes are left alone."""
    return encoded_words.all_readings(text) if "=?" in text and len(text) <= MAX_SUBJECT else ""


def _named(name: str, address: str) -> str:
    """A sender with a display name, quoted where RFC 5322 §3.2.3 asks for it."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    elif "@" in name or "," in name:
        raise _Fault("several", "Give one address only; put a name with a comma or an @ into double quotes.")
    checked = _address(address)
    if _SPECIALS.search(name):
        name = '"{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))
    return f"{name} <{checked}>" if name else checked


def _address(text: str) -> str:
    try:
        return addresses.normal(text)
    except AddressInvalid as error:
        raise _Fault("invalid_address", f"'{_shown(text)}' is not an e-mail address. {error}") from None


def _bytes(text: str) -> int:
    return len(text.encode())
