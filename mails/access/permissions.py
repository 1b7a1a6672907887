"""Permissions: keys by their scopes, people by their Django permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from mails.access.api_keys import Scope
from mails.access.grants import PERMISSIONS
from mails.models import ApiKey, Mail

if TYPE_CHECKING:  # rest_framework.views itself imports this file, by its settings
    from rest_framework.views import APIView

# Allowed to every signed-in person, for their own email (MailQuerySet.visible_to ensures that).
_EVERYONE = frozenset({Scope.MAILS_SEND, Scope.MAILS_READ, Scope.EVENTS_WRITE})


class HasScope(BasePermission):
    """Allow a request if its key has the scope that the view's `required_scopes` names for its method.

    A person needs Django's permissions for that scope, or the one that `required_permissions` names for the method if a
    scope covers several of them. A view without `required_scopes` is closed to everybody. A method that it does not name
    passes, to become a 405.
    """

    code = "missing_scope"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return True if the request is allowed; else set a message that names the scope."""
        if request.auth is None and not request.user.is_authenticated:
            return False
        required: dict[str, str] | None = getattr(view, "required_scopes", None)
        if required is None:
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        scope = required.get(method)
        if scope is None:
            return True
        permission = getattr(view, "required_permissions", {}).get(method)
        if permission and not isinstance(request.auth, ApiKey):
            self.message = f"Your account lacks the permission '{permission}'."
            return bool(request.user.has_perm(permission))
        who = "This key" if isinstance(request.auth, ApiKey) else "Your account"
        self.message = f"{who} lacks the scope '{scope}'."
        return has_scope(request.user, request.auth, scope)


def has_scope(user: Any, auth: Any, scope: str) -> bool:
    """Return True if the key (`auth`), or else the person, may do what `scope` allows."""
    if isinstance(auth, ApiKey):
        return scope in auth.scopes
    if scope in _EVERYONE:
        return bool(user.is_authenticated)
    return bool(user.has_perms(PERMISSIONS[Scope(scope)]))


def can_append_to(mail: Mail, user: Any, auth: Any) -> bool:
    """Return True if the client, who can see the email, may append events: to its own, or with the permission for all."""
    if isinstance(auth, ApiKey):
        return mail.api_key_id == auth.pk
    return mail.user_id == user.pk or bool(user.has_perms(PERMISSIONS[Scope.EVENTS_WRITE]))
