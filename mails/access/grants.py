"""Nobody grants what they lack: what a person must hold to give a key its scopes and senders, or a person an address."""

from collections.abc import Collection
from typing import Any

from mails.access.api_keys import Scope
from mails.message.addresses import normal_entry
from mails.models import ApiKey

# The permissions that let a person do what the scope lets a key do, to everybody's email. docs/access.md has the whole table.
PERMISSIONS = {
    Scope.MAILS_SEND: (),  # see the senders
    Scope.MAILS_READ: ("mails.view_mail",),
    Scope.MAILS_MANAGE: ("mails.change_mail",),
    Scope.EVENTS_WRITE: ("mails.add_event",),
    Scope.EVENTS_SYSTEM: ("mails.add_event",),
    Scope.PROVIDERS_READ: ("providers.view_account",),
    Scope.PROVIDERS_WRITE: ("providers.add_account", "providers.change_account", "providers.delete_account"),
    Scope.STATS_READ: ("mails.view_rollup",),
}
# A new key has no email yet, and everybody may do these to their own.
_TO_ONES_OWN = (Scope.MAILS_SEND, Scope.MAILS_READ, Scope.EVENTS_WRITE)


def senders_of(person: Any) -> list[str]:
    """Return the addresses a person may send as; `*` for a superuser."""
    return ["*"] if person.is_superuser else list(person.sender_permissions.values_list("address", flat=True))


def uncovered_senders(person: Any, senders: Collection[str]) -> list[str]:
    """Return those of the senders that the person may not send as, and so may not grant."""
    held = {normal_entry(sender) for sender in senders_of(person)}
    return [sender for sender in senders if not held & _covering(sender)]


def missing_for_new(person: Any, *, scopes: Collection[str], senders: Collection[str]) -> list[str]:
    """Return what the person lacks to make a key with these, in words; empty if nothing."""
    return _missing(person, [scope for scope in scopes if scope not in _TO_ONES_OWN], senders)


def missing_for_change(person: Any, before: ApiKey, *, scopes: Collection[str], senders: Collection[str]) -> list[str]:
    """Return what the person lacks to add these to a key; what it has already is not theirs to give."""
    added = [sender for sender in senders if sender not in before.senders]
    return _missing(person, [scope for scope in scopes if scope not in before.scopes], added)


def missing_for_text(person: Any, key: ApiKey) -> list[str]:
    """Return what the person lacks to get a text of this key: with it they could do all that the key may do."""
    return _missing(person, key.scopes, key.senders if Scope.MAILS_SEND in key.scopes else [])


def _missing(person: Any, scopes: Collection[str], senders: Collection[str]) -> list[str]:
    found = [
        f"the scope {scope} takes the permission {permission}"
        for scope in scopes
        for permission in (PERMISSIONS[Scope(scope)] if scope in Scope.values else ())
        if not person.has_perm(permission)
    ]
    return found + [f"you may not send as {sender} yourself" for sender in uncovered_senders(person, senders)]


def _covering(sender: str) -> set[str]:
    """The entries that include this one: itself, its domain, and any address."""
    normal = normal_entry(sender)
    return {"*", normal, normal[normal.index("@") :]} if "@" in normal else {"*"}
