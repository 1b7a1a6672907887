"""Secrets of webhooks follow the newest key, so that an older one can be removed."""

import pytest
from cryptography.fernet import Fernet

from mails.events.webhooks import operations, signing
from mails.maintenance import webhook_secrets
from mails.models import Webhook
from mails.tests.callers import caller
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def test_both_secrets_are_readable_with_the_newest_key_alone_afterwards(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    first, second = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.MERCURY_ENCRYPTION_KEYS = [first]
    made = operations.create(caller().key, url="http://127.0.0.1/", by="user:zeus")
    new = operations.rotate_secret(made.webhook, by="user:zeus")
    settings.MERCURY_ENCRYPTION_KEYS = [second, first]
    assert webhook_secrets.encrypt_again() == 2

    settings.MERCURY_ENCRYPTION_KEYS = [second]
    assert webhook_secrets.encrypt_again() == 0
    assert signing.read_secrets(Webhook.objects.get(), database_clock.now()) == [new, made.secret]


def test_what_no_key_reads_stays_as_it_is(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    operations.create(caller().key, url="http://127.0.0.1/", by="user:zeus")
    Webhook.objects.update(secret="unreadable")

    assert webhook_secrets.encrypt_again() == 0

    assert Webhook.objects.get().secret == "unreadable"
