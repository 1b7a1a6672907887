"""Grants of scopes and senders: a person grants only what they have, so nobody gains more than they hold."""

from collections.abc import Collection
from typing import Any

from mails.access.api_keys import Scope
from mails.message.addresses import normalize_entry
from mails.models import ApiKey

# The permissions that let a person do what the scope lets a key do, for everybody's email. docs/access.md has the table.
PERMISSIONS = {
    Scope.MAILS_SEND: (),  # limited by the senders
    Scope.MAILS_READ: ("mails.view_mail",),
    Scope.MAILS_MANAGE: ("mails.change_mail",),
    Scope.EVENTS_WRITE: ("mails.add_event",),
    Scope.EVENTS_SYSTEM: ("mails.add_event",),
    Scope.PROVIDERS_READ: ("providers.view_account",),
    Scope.PROVIDERS_WRITE: ("providers.add_account", "providers.change_account", "providers.delete_account"),
    Scope.SUPPRESSIONS_READ: ("mails.view_suppression",),
    Scope.SUPPRESSIONS_WRITE: ("mails.add_suppression", "mails.delete_suppression"),
    Scope.WEBHOOKS_READ: ("mails.view_webhook",),
    Scope.WEBHOOKS_WRITE: ("mails.add_webhook", "mails.change_webhook", "mails.delete_webhook"),
    Scope.STATS_READ: ("mails.view_rollup",),
}
# A new key has no email yet, and everybody may do these with their own.
_ALLOWED_FOR_OWN_EMAIL = (Scope.MAILS_SEND, Scope.MAILS_READ, Scope.EVENTS_WRITE)


def list_senders(person: Any) -> list[str]:
    """Return the addresses a person may send as; `*` for a superuser."""
    return ["*"] if person.is_superuser else list(person.sender_permissions.values_list("address", flat=True))


def find_uncovered_senders(person: Any, senders: Collection[str]) -> list[str]:
    """Return the senders that the person may not send as, and so may not grant."""
    held = {normalize_entry(sender) for sender in list_senders(person)}
    return [sender for sender in senders if not held & _list_covering_entries(sender)]


def find_missing_for_new_key(person: Any, *, scopes: Collection[str], senders: Collection[str]) -> list[str]:
    """Return what the person lacks to create a key with these scopes and senders, in words; empty if nothing."""
    return _find_missing(person, [scope for scope in scopes if scope not in _ALLOWED_FOR_OWN_EMAIL], senders)


def find_missing_for_change(
    person: Any, before: ApiKey, *, scopes: Collection[str], senders: Collection[str]
) -> list[str]:
    """Return what the person lacks to add these scopes and senders to a key. What it already has needs no grant."""
    added = [sender for sender in senders if sender not in before.senders]
    return _find_missing(person, [scope for scope in scopes if scope not in before.scopes], added)


def find_missing_for_rotation(person: Any, key: ApiKey) -> list[str]:
    """Return what the person lacks to rotate this key: with the new key they could do all that it may do."""
    return _find_missing(person, key.scopes, key.senders if Scope.MAILS_SEND in key.scopes else [])


def _find_missing(person: Any, scopes: Collection[str], senders: Collection[str]) -> list[str]:
    missing = [
        f"the scope {scope} requires the permission {permission}"
        for scope in scopes
        for permission in (PERMISSIONS[Scope(scope)] if scope in Scope.values else ())
        if not person.has_perm(permission)
    ]
    return missing + [f"you may not send as {sender} yourself" for sender in find_uncovered_senders(person, senders)]


def _list_covering_entries(sender: str) -> set[str]:
    """Return the entries that include this one: itself, its domain, and any address."""
    normal = normalize_entry(sender)
    return {"*", normal, normal[normal.index("@") :]} if "@" in normal else {"*"}
