"""Who may do what: keys by their scopes, people by what they are to Mercury."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from mails.access.api_keys import Scope
from mails.access.grants import PERMISSIONS
from mails.models import ApiKey, Mail

if TYPE_CHECKING:  # rest_framework.views itself imports this file, by its settings
    from rest_framework.views import APIView

# What every signed-in person may do, on mails of their own (MailQuerySet.visible_to sees to that).
_EVERYONE = frozenset({Scope.MAILS_SEND, Scope.MAILS_READ, Scope.EVENTS_WRITE})


class HasScope(BasePermission):
    """Lets a request pass whose key has the scope that the view's `required_scopes` names for its method.

    A person needs Django's permission for that scope, or the one that `required_permissions` names for the method where a
    scope allows several things that people may be given one by one. A view without `required_scopes` is closed to everybody.
    A method that it does not name goes on, to be a 405.
    """

    code = "missing_scope"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """False with a message that names the scope."""
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
    """Whether the key (`auth`), or else the person, may do what `scope` names."""
    if isinstance(auth, ApiKey):
        return scope in auth.scopes
    if scope in _EVERYONE:
        return bool(user.is_authenticated)
    return bool(user.has_perms(PERMISSIONS[Scope(scope)]))


def may_write_to(mail: Mail, user: Any, auth: Any) -> bool:
    """Whether events may be appended to this mail, which the client may see: to one's own, or with the right to all."""
    if isinstance(auth, ApiKey):
        return mail.api_key_id == auth.pk
    return mail.user_id == user.pk or bool(user.has_perms(PERMISSIONS[Scope.EVENTS_WRITE]))
