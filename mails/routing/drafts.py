"""A routing rule before it is stored, and what is wrong with one that a client sent."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mails.conditions.conditions import ALL_MAIL, Conditions
from mails.conditions.parsing import ConditionsInvalid, dump_conditions, parse_conditions
from mails.models import RoutingRule
from mercury.lib.database import database_clock
from mercury.lib.mail import printable
from providers.accounts.config import MAX_PRIORITY, MAX_WEIGHT

FIELDS = ("name", "conditions", "accounts", "enabled", "note")
MAX_NOTE = 500  # characters
NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
_NAME = re.compile(NAME)
_SHOWN = 60

Errors = dict[str, str]  # place, such as `accounts.0.weight` -> problem and remedy


class RuleInvalid(ValueError):
    """The rule cannot be stored; `errors` says why, by place."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{place}: {problem}" if place else problem for place, problem in errors.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDraft:
    """A rule before it is stored. `accounts`: as the row has them."""

    name: str
    conditions: Conditions = ALL_MAIL
    accounts: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    enabled: bool = True
    note: str = ""

    def to_row(self, *, position: int = 0, by: str = "") -> RoutingRule:
        """Return the rule as a row, not stored."""
        return RoutingRule(
            name=self.name,
            position=position,
            enabled=self.enabled,
            conditions=dump_conditions(self.conditions),
            accounts=list(self.accounts),
            note=self.note,
            changed_at=database_clock.now(),
            changed_by=by[:160],
        )


def read_draft(given: Mapping[str, Any], *, known_accounts: Sequence[str]) -> RuleDraft:
    """Return the rule that this JSON object describes. Raises RuleInvalid with each error and its place."""
    errors: Errors = {}
    name = _read_name(given.get("name"), errors)
    try:
        conditions = parse_conditions(given.get("conditions", {}))
    except ConditionsInvalid as refused:
        errors |= {f"conditions.{place}" if place else "conditions": text for place, text in refused.errors.items()}
        conditions = ALL_MAIL
    accounts = _read_accounts(given.get("accounts"), known_accounts, errors)
    enabled, note = given.get("enabled", True), given.get("note", "")
    if not isinstance(enabled, bool):
        errors["enabled"] = "It must be true or false."
    if not isinstance(note, str) or len(note) > MAX_NOTE or printable.find_unprintable(note):
        errors["note"] = f"A note is a line of at most {MAX_NOTE} characters."
    if errors:
        raise RuleInvalid(errors)
    return RuleDraft(name=name, conditions=conditions, accounts=accounts, enabled=enabled, note=note.strip())


def read_change(row: RoutingRule, given: Mapping[str, Any], *, known_accounts: Sequence[str]) -> RuleDraft:
    """Return the stored rule with what this JSON object changes. Raises RuleInvalid with each error and its place."""
    whole = {name: getattr(row, name) for name in FIELDS}
    return read_draft(whole | {name: given[name] for name in FIELDS if name in given}, known_accounts=known_accounts)


def _read_name(given: object, errors: Errors) -> str:
    if isinstance(given, str) and _NAME.fullmatch(given) and len(given) <= 64:
        return given
    errors["name"] = "A name has at most 64 lower case letters, digits and single dashes, such as eu-only."
    return ""


def _read_accounts(given: object, known: Sequence[str], errors: Errors) -> list[dict[str, Any]]:
    """Return the accounts of a rule: names, or objects with `account` and optional `priority` and `weight`."""
    entries = [given] if isinstance(given, str) else given
    if not isinstance(entries, list) or not entries:
        errors["accounts"] = (
            "Name at least one account that emails of this rule may use, such as "
            f'["{known[0] if known else "mailgun-eu"}"]. A rule without any would let them wait for ever.'
        )
        return []
    if len(entries) > len(known):
        errors["accounts"] = f"It names {len(entries)} accounts, and there are {len(known)}. Remove the others."
        return []
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(entries):
        place = f"accounts.{number}"
        account = {"account": entry} if isinstance(entry, str) else entry
        if not isinstance(account, Mapping):
            errors[place] = 'It must be a name, or an object such as {"account": "mailgun-eu", "priority": 1}.'
            continue
        read = _read_account(account, known, place, errors)
        if any(other["account"] == read["account"] for other in found):
            errors[place] = f"The account '{shorten(read['account'])}' is there twice. Remove one."
        found.append(read)
    return found


def _read_account(given: Mapping[str, Any], known: Sequence[str], place: str, errors: Errors) -> dict[str, Any]:
    name = given.get("account")
    if not isinstance(name, str) or name not in known:
        errors[place] = f"There is no account '{shorten(name)}'. Known: {', '.join(known) or 'none'}."
    for key in given:
        if key not in ("account", "priority", "weight"):
            errors[f"{place}.{shorten(key)}"] = "An account has `account`, `priority` and `weight` only."
    read: dict[str, Any] = {"account": name}
    for key, most in (("priority", MAX_PRIORITY), ("weight", MAX_WEIGHT)):
        number = given.get(key)
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
            errors[f"{place}.{key}"] = (
                f"It must be a whole number from 1 to {most}, or be left out: then the account's own."
            )
        read[key] = number
    return read


def shorten(text: object) -> str:
    """Return a client's text as an error repeats it."""
    return printable.replace_unprintable(str(text)[:_SHOWN], allowed="")
