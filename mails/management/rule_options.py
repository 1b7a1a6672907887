"""Options that say which emails a rule matches, the same for routing rules and queue rules."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from mails.conditions.parsing import LISTS, RANGES
from mercury.lib import commands

_NUMBER = commands.parse_integer_option(0, 2**31 - 1)
_TEXTS = {
    "sender_domain": "Domain of the sender: olimpus.com, or *.olimpus.com for the domains below it.",
    "recipient_domain": "Domain of a recipient.",
    "tag": "Tag.",
    "queue": "Queue.",
    "api_key": "Name of an API key.",
}


def declare_conditions(parser: CommandParser) -> None:
    """Declare an option for each condition of a rule."""
    for name in LISTS:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, dest=name, action="append", default=[], help=f"{_TEXTS[name]} Repeatable.")
    for name in RANGES:
        for end in ("from", "to"):
            what = "Bytes" if name == "size" else "Number of recipients"
            parser.add_argument(
                f"--{name}-{end}", dest=f"{name}_{end}", type=_NUMBER, metavar="N", help=f"{what}, {end} N."
            )


def read_conditions(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions that these options name, as the API takes them."""
    lists = {name: options[name] for name in LISTS if options[name]}
    ranges = {
        name: {end: options[f"{name}_{end}"] for end in ("from", "to") if options[f"{name}_{end}"] is not None}
        for name in RANGES
    }
    return lists | {name: numbers for name, numbers in ranges.items() if numbers}
