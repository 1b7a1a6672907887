"""Who may do what: keys by their scopes, people by what they are to Mercury."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from mails.keys import Scope
from mails.models import ApiKey

if TYPE_CHECKING:  # rest_framework.views itself imports this file, by its settings
    from rest_framework.views import APIView

# What every signed-in person may do, on mails of their own (MailQuerySet.visible_to sees to that).
_EVERYONE = frozenset({Scope.MAILS_SEND, Scope.MAILS_READ, Scope.EVENTS_WRITE})
# Django's permission that gives a person the scope.
_PERMISSIONS = {
    Scope.MAILS_STEER: "mails.change_mail",
    Scope.EVENTS_SYSTEM: "mails.add_event",
    Scope.PROVIDERS_READ: "providers.view_account",
    Scope.PROVIDERS_WRITE: "providers.change_account",
    Scope.STATS_READ: "mails.view_rollup",
}


class HasScope(BasePermission):
    """Lets a request pass whose key or person has the scope that the view's `required_scopes` names for its method.

    A view without `required_scopes` is closed to everybody. A method that it does not name goes on, to be a 405.
    """

    code = "missing_scope"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """False with a message that names the scope."""
        if request.auth is None and not request.user.is_authenticated:
            return False
        required: dict[str, str] | None = getattr(view, "required_scopes", None)
        if required is None:
            return False
        scope = required.get("GET" if request.method == "HEAD" else str(request.method))
        if scope is None or has_scope(request.user, request.auth, scope):
            return True
        who = "This key" if isinstance(request.auth, ApiKey) else "Your account"
        self.message = f"{who} lacks the scope '{scope}'."
        return False


def has_scope(user: Any, auth: Any, scope: str) -> bool:
    """Whether the key (`auth`), or else the person, may do what `scope` names."""
    if isinstance(auth, ApiKey):
        return scope in auth.scopes
    if scope in _EVERYONE:
        return bool(user.is_authenticated)
    return bool(user.has_perm(_PERMISSIONS[Scope(scope)]))
