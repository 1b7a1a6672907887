"""Applications sign in with `Authorization: Bearer mk_…`; people with their session (Django REST framework's class)."""

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from mails.access import api_keys
from mails.models import ApiKey

_REALM = 'Bearer realm="Mercury"'


class KeyAuthentication(BaseAuthentication):
    """Sets `request.auth` to the `ApiKey`. One query, see `keys.find`; without the header the next class has its say."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        """The key of the request, None where none was sent. Raises AuthenticationFailed (401) for a wrong one."""
        header = request.headers.get("Authorization")
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
        """The challenge of a 401 (RFC 6750 §3)."""
        return f'{_REALM}, error="invalid_token"' if "Authorization" in request.headers else _REALM
