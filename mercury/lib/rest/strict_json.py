"""Parse JSON strictly, with the same result on every database.

UTF-8 only, at most 32 levels deep and 100,000 values, no NUL, no lone surrogates, no NaN or Infinity, no repeated key.
"""

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

import orjson

MAX_DEPTH = 32
MAX_VALUES = 100_000  # an empty list is two bytes of text and sixty of memory

# A string (also one that never ends: it must not be read again from each of its quotes), a bracket, or a comma.
_STRING_OR_MARK = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]|,', re.DOTALL)


class NotStrictJSON(ValueError):
    """The bytes break a rule of `loads`. `pointer` (RFC 6901) names the place, if there is one."""

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer


def loads(body: bytes) -> dict[str, Any]:
    """Return the object in `body`. Raises NotStrictJSON, nothing else."""
    value = loads_any(body)
    if not isinstance(value, dict):
        raise NotStrictJSON(
            "not_an_object", 'The body must be a JSON object, such as {"recipient": "hera@olimpus.com"}.'
        )
    return value


def loads_any(body: bytes) -> Any:
    """Return the value in `body`.

    Raises NotStrictJSON, nothing else. Recursion is limited to MAX_DEPTH, and time is proportional to the size.
    """
    found = _load_quickly(body)
    return found[0] if found else _load_and_explain(body)


def _load_quickly(body: bytes) -> list[Any]:
    """Return the value alone in a list, in a third of the time; nothing if a rule may be broken, which few bodies do."""
    if b"\\u0000" not in body and b"\\u003" not in body and sum(map(body.count, (b"[", b"{", b","))) < MAX_VALUES:
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(body)
            if _is_strict(value, colons=body.count(b":")):
                return [value]
    return []


def _is_strict(value: Any, *, colons: int) -> bool:
    """Return True if a value that orjson read is the one that `_load_and_explain` would return.

    `colons`: of the text. Those outside of strings are one for each key: a repeated key, of which orjson keeps the last,
    leaves some over. A number with a fraction may have been a whole one that is too large.
    """
    depth = -1
    level: list[Any] = [[value]]
    while level:
        depth += 1
        inner: list[Any] = []
        for container in level:
            values: Iterable[Any] = container
            if type(container) is dict:
                values = container.values()
                colons -= len(container) + sum([key.count(":") for key in container])
            for found in values:
                kind = type(found)
                if kind is str:
                    colons -= found.count(":")
                elif kind is dict or kind is list:
                    inner.append(found)
                elif kind is float:
                    return False
        level = inner
    return depth <= MAX_DEPTH and colons == 0


def _load_and_explain(body: bytes) -> Any:
    """Return the value, or raise NotStrictJSON with the rule that it breaks."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrictJSON("not_utf8", f"The body is not UTF-8 (byte {error.start}). Send it as UTF-8.") from None
    _check_shape(text)
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_parse_float, object_pairs_hook=_build_object
        )
    except json.JSONDecodeError as error:
        raise NotStrictJSON(
            "not_json", f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except NotStrictJSON:
        raise
    except ValueError:  # an integer of more digits than Python converts
        raise NotStrictJSON("number_too_large", "A number in the body has too many digits.") from None
    if "\\u" in text or "\0" in text:
        _check_characters(value)
    return value


def _check_shape(text: str) -> None:
    """Count brackets and commas outside strings before the parser runs: it recurses, and builds every value."""
    brackets = text.count("[") + text.count("{")
    if brackets <= MAX_DEPTH and text.count(",") < MAX_VALUES - brackets:
        return
    depth = values = 0
    for match in _STRING_OR_MARK.finditer(text):
        found = match[0]
        if found in "[{":
            depth += 1
            values += 1
            if depth > MAX_DEPTH:
                raise NotStrictJSON("too_deep", f"The body is nested more than {MAX_DEPTH} levels deep.")
        elif found in "]}":
            depth -= 1
        elif found == ",":
            values += 1
        if values > MAX_VALUES:
            raise NotStrictJSON("too_many_values", f"The body has more than {MAX_VALUES:,} values.")


def _refuse_constant(name: str) -> NoReturn:
    raise NotStrictJSON("not_json", f"The body is not JSON: {name} is not a JSON number.")


def _parse_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise NotStrictJSON("number_too_large", "A number in the body is too large.")
    return number


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    shown = _make_printable(key)
    raise NotStrictJSON(
        "duplicate_key", f"The key '{shown}' is repeated in one object; write it once.", _build_step(shown)
    )


def _check_characters(value: Any) -> None:
    """Refuse NUL and lone surrogates in any key and any string. The depth was checked, so a stack of pointers is small."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        pointer, found = waiting.pop()
        if isinstance(found, str):
            _check_text(found, pointer)
        elif isinstance(found, dict):
            for key, inner in found.items():
                _check_text(key, pointer)
                waiting.append((pointer + _build_step(key), inner))
        elif isinstance(found, list):
            waiting.extend((f"{pointer}/{index}", inner) for index, inner in enumerate(found))


def _check_text(text: str, pointer: str) -> None:
    if "\0" in text:
        raise NotStrictJSON("forbidden_character", "It contains a NUL character; remove it.", pointer)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStrictJSON(
            "forbidden_character", "It contains half of a surrogate pair, which is not a character.", pointer
        ) from None


def _build_step(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _make_printable(key: str) -> str:
    return key[:80].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
