"""Conditions from JSON, as rules store them and clients send them, and back. Each error names its place and the remedy."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from email_validator import EmailNotValidError, validate_email

from mails.conditions.conditions import ALL_MAIL, ANY_NUMBER, BELOW, Conditions, Range
from mails.queues import QueueName
from mercury.lib.mail import printable

MAX_ENTRIES = 100  # of a list
MAX_WORD = 128  # characters of a tag or of a key's name
MAX_NUMBER = 2**31 - 1
LISTS = ("sender_domain", "recipient_domain", "tag", "queue", "api_key")
RANGES = ("size", "recipients")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_SHOWN = 60  # characters of a client's text that an error repeats

Errors = dict[str, str]  # place -> problem and remedy; a place is `tag`, `tag.3` or `size.from`


class ConditionsInvalid(ValueError):
    """The conditions cannot be read, or no email can meet them."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{place}: {problem}" if place else problem for place, problem in errors.items()))


def parse_conditions(given: object) -> Conditions:
    """Return the conditions that this JSON value describes. Raises ConditionsInvalid, also if no email can meet them."""
    if not isinstance(given, Mapping):
        raise ConditionsInvalid({"": 'Conditions are an object, such as {"sender_domain": ["olimpus.com"]}.'})
    errors: Errors = {}
    known = ", ".join((*LISTS, *RANGES))
    for name in given:
        if name not in (*LISTS, *RANGES):
            errors[_shorten(name)] = f"There is no such condition. Known: {known}."
    lists = {name: _read_list(name, given[name], errors) for name in LISTS if name in given}
    ranges = {name: _read_range(name, given[name], errors) for name in RANGES if name in given}
    if errors:
        raise ConditionsInvalid(errors)
    return Conditions(**lists, **ranges)  # type: ignore[arg-type]  # the names are those of its fields


def dump_conditions(conditions: Conditions) -> dict[str, Any]:
    """Return the conditions as JSON that `parse_conditions` reads; those that ask for nothing are left out."""
    lists = {name: list(getattr(conditions, name)) for name in LISTS if getattr(conditions, name)}
    ranges = {
        name: {key: bound for key, bound in (("from", numbers.least), ("to", numbers.most)) if bound is not None}
        for name in RANGES
        if not (numbers := getattr(conditions, name)).is_open
    }
    return lists | ranges


def load_conditions(stored: Mapping[str, Any]) -> Conditions | None:
    """Return the conditions of a stored rule; None if this version of Mercury does not understand them."""
    try:
        return parse_conditions(stored) if stored else ALL_MAIL
    except ConditionsInvalid:
        return None


def _read_list(name: str, given: object, errors: Errors) -> tuple[str, ...]:
    entries = [given] if isinstance(given, str) else given
    if not isinstance(entries, Sequence) or isinstance(entries, bytes):
        errors[name] = f"It must be a list of texts, not {_name_type(given)}."
        return ()
    if not entries:
        errors[name] = "An empty list matches no email. Name at least one entry, or leave the condition out."
    if len(entries) > MAX_ENTRIES:
        errors[name] = f"It has {len(entries)} entries; at most {MAX_ENTRIES} are allowed. Make a second rule."
        return ()
    read = _READERS.get(name, _read_word)
    found = []
    for number, entry in enumerate(entries):
        try:
            found.append(read(entry))
        except ValueError as error:
            errors[f"{name}.{number}"] = str(error)
    return tuple(dict.fromkeys(found))


def parse_domain(entry: object) -> str:
    """Return a domain, or `*.` and a domain, in lower case and ASCII. Raises ValueError with the problem."""
    text = _read_text(entry).lower().removesuffix(".")
    below, name = (BELOW, text[len(BELOW) :]) if text.startswith(BELOW) else ("", text)
    if not name.isascii():
        try:
            name = validate_email(f"a@{name}", check_deliverability=False).ascii_domain.lower()
        except EmailNotValidError:
            raise ValueError(_explain_domain(text)) from None
    if not _DOMAIN.fullmatch(name):
        raise ValueError(_explain_domain(text))
    return below + name


def _explain_domain(text: str) -> str:
    if text == "*":
        return "'*' would mean every domain: leave the condition out instead."
    if "@" in text:
        return f"'{_shorten(text)}' is an address. Write its domain only: {_shorten(text.rpartition('@')[2]) or 'olimpus.com'}."
    return f"'{_shorten(text)}' is not a domain. Write olimpus.com, or *.olimpus.com for the domains below it."


def _read_queue(entry: object) -> str:
    text = _read_text(entry)
    if text not in QueueName.values:
        raise ValueError(f"There is no queue '{_shorten(text)}'. Known: {', '.join(QueueName.values)}.")
    return text


def _read_word(entry: object) -> str:
    text = _read_text(entry)
    if len(text) > MAX_WORD:
        raise ValueError(f"It has {len(text)} characters; at most {MAX_WORD} are allowed.")
    return text


def _read_text(entry: object) -> str:
    if not isinstance(entry, str):
        raise ValueError(f"It must be a text, not {_name_type(entry)}.")
    text = entry.strip()
    if not text:
        raise ValueError("It is empty. Write a text, or remove the entry.")
    if mark := printable.find_unprintable(text):
        raise ValueError(f"It contains the character {printable.name_mark(mark)}; remove it.")
    return text


_READERS: Mapping[str, Callable[[object], str]] = {
    "sender_domain": parse_domain,
    "recipient_domain": parse_domain,
    "queue": _read_queue,
}


def _read_range(name: str, given: object, errors: Errors) -> Range:
    if not isinstance(given, Mapping):
        errors[name] = f'It must be an object such as {{"from": 1, "to": 10}}, not {_name_type(given)}.'
        return ANY_NUMBER
    for key in given:
        if key not in ("from", "to"):
            errors[f"{name}.{_shorten(key)}"] = "A range has `from` and `to` only, both included."
    if not given:
        errors[name] = "The range has neither `from` nor `to`. Write one, or leave the condition out."
    numbers = Range(least=_read_number(name, "from", given, errors), most=_read_number(name, "to", given, errors))
    if numbers.is_empty:
        errors[name] = (
            f"No email can match: from {numbers.least} is more than to {numbers.most}. Exchange them, or change one."
        )
    elif name == "recipients" and numbers.most == 0:
        errors[name] = "No email can match: each has at least one recipient. Write 1 or more for `to`."
    return numbers


def _read_number(name: str, key: str, given: Mapping[str, Any], errors: Errors) -> int | None:
    number = given.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int):
        errors[f"{name}.{key}"] = f"It must be a whole number, not {_name_type(number)}."
    elif not 0 <= number <= MAX_NUMBER:
        errors[f"{name}.{key}"] = f"It must be a whole number from 0 to {MAX_NUMBER}."
    else:
        return number
    return None


def _name_type(given: object) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return "null" if given is None else names.get(type(given), "something else")


def _shorten(text: object) -> str:
    return printable.replace_unprintable(str(text)[:_SHOWN], allowed="")
