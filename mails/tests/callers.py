"""Clients of the API for the tests: zeus writes, hera receives."""

from rest_framework.test import APIClient

from mails.access import api_keys
from mails.models import ApiKey

ZEUS = "zeus@olimpus.com"
HERA = "hera@olimpus.com"
MAILS = "/api/v1.0/mails/"
HELLO = {"sender": ZEUS, "recipient": HERA, "subject": "You made my day", "content": "Hi"}


class Caller(APIClient):
    """An application with a key."""

    key: ApiKey
    text: str


def caller(name="zeus", *, scopes=api_keys.SCOPES, senders=(ZEUS,), **more) -> Caller:
    client = Caller()
    client.key, client.text = api_keys.create(name, scopes=scopes, senders=senders, **more)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {client.text}")
    return client


def send_raw(client, body: bytes, path: str = MAILS, content_type="application/json", **headers):
    return client.generic("POST", path, body, content_type=content_type, **headers)


def problem(answer, status: int, code: str | None = None) -> dict:
    """The problem document of an answer, checked for its form."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert found["error"] == found["title"]
    assert found["message"]
    assert found["request_id"] == answer["X-Request-ID"]
    if code is not None:
        assert found["type"] == f"urn:problem:mercury:{code}"
    return found
