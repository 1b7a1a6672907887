"""The rules for what a client posts of an account: names and types. What the values must be is the registry's to say."""

from collections.abc import Mapping
from typing import Any

from mercury.lib.rest.problems import Fault, Problem

FIELDS = ("name", "kind", "options", "weight", "rate", "trust_500", "enabled")
IGNORED = frozenset({"id", "url", "source", "configured", "in_use", "breaker", "created"})  # what an answer shows
_WORDS = {
    "name": "text",
    "kind": "text",
    "options": "an object",
    "weight": "a whole number",
    "rate": "a number, or null for no limit",
    "trust_500": "true or false",
    "enabled": "true or false",
}


def parse(data: Mapping[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields that were given, of the right types. Raises Problem (400) with every fault found."""
    faults = [
        Fault(f"There is no such field. Known: {', '.join(FIELDS)}.", "unknown_field", f"/{name[:80]}")
        for name in list(data)[:100]
        if name not in FIELDS and name not in IGNORED
    ]
    faults += [Fault("It must be given.", "required", f"/{name}") for name in required if name not in data]
    given = {name: data[name] for name in FIELDS if name in data}
    faults += [
        Fault(f"It must be {_WORDS[name]}.", "invalid", f"/{name}")
        for name, value in given.items()
        if not _has_type(name, value)
    ]
    if faults:
        raise invalid(faults)
    return given


def invalid(faults: list[Fault]) -> Problem:
    """The answer to a request whose fields are at fault."""
    return Problem(400, "invalid_account", "The account was not stored; see errors.", errors=faults)


def _has_type(name: str, value: Any) -> bool:
    match name:
        case "name" | "kind":
            return isinstance(value, str)
        case "options":
            return isinstance(value, dict)
        case "weight":
            return isinstance(value, int) and not isinstance(value, bool)
        case "rate":
            return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return isinstance(value, bool)
