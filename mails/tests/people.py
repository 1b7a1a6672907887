"""The people of the page tests: zeus writes as himself, hermes operates."""

from django.contrib.auth.models import User
from django.test import Client

from mails.models import SenderPermission
from mails.tests.builders import ZEUS

PASSWORD = "a-long-pass-phrase"


def zeus(*senders: str) -> User:
    """A person who may send as `senders`, himself if none is given."""
    user = User.objects.create_user("zeus", ZEUS, PASSWORD)
    for sender in senders or (ZEUS,):
        SenderPermission.objects.create(user=user, address=sender)
    return user


def hermes() -> User:
    """A superuser."""
    return User.objects.create_superuser("hermes", "hermes@olimpus.com", PASSWORD)


def browser_of(user: User) -> Client:
    """A test client signed in as `user`."""
    client = Client()
    client.force_login(user)
    return client
