"""Applications sign in with `Authorization: Bearer mk_…`; people with their session."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from mails.access import api_keys
from mails.models import ApiKey

_REALM = 'Bearer realm="Mercury"'


class KeyAuthentication(BaseAuthentication):
    """Set `request.auth` to the `ApiKey`. One query, see `api_keys.find`; without the header the next class decides."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        """Return the key of the request, None if none was sent. Raises AuthenticationFailed (401) for a wrong one."""
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Sign in with an API key: 'Authorization: Bearer mk_…'.", "wrong_scheme")
        key = api_keys.find(text.strip())
        if key is None:
            raise AuthenticationFailed("The API key is wrong, expired or revoked.", "wrong_key")
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401 (RFC 6750 §3)."""
        return f'{_REALM}, error="invalid_token"' if "HTTP_AUTHORIZATION" in request.META else _REALM


class PersonAuthentication(SessionAuthentication):
    """Set `request.user` to the person of the session, and check the CSRF token of what they write."""

    def enforce_csrf(self, request: Request) -> None:
        """Look for the token in a form or in the header. The framework would parse any other body first: that of a file."""
        super().enforce_csrf(request._request)  # type: ignore[arg-type]  # all that the check needs


class PersonScheme(SessionScheme):  # type: ignore[no-untyped-call]
    """The session in the OpenAPI schema."""

    target_class = "mails.access.authentication.PersonAuthentication"


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """`Authorization: Bearer mk_…` in the OpenAPI schema."""

    target_class = KeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "description": "An API key: `mk_<prefix>_<secret>`."}
