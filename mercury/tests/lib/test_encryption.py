"""Secrets at rest."""

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from mercury.lib import encryption
from mercury.lib.encryption import DecryptionFailed

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_what_was_encrypted_is_read_again(settings):
    settings.MERCURY_ENCRYPTION_KEYS = []

    token = encryption.encrypt("thunderbolt ⚡")

    assert "thunderbolt" not in token
    assert encryption.decrypt(token) == "thunderbolt ⚡"


def test_the_same_text_gives_another_token_each_time():
    assert encryption.encrypt("thunderbolt") != encryption.encrypt("thunderbolt")


def test_without_keys_the_secret_key_is_the_root(settings):
    settings.MERCURY_ENCRYPTION_KEYS = []
    token = encryption.encrypt("thunderbolt")
    settings.SECRET_KEY = "another"

    with pytest.raises(DecryptionFailed, match="MERCURY_ENCRYPTION_KEYS"):
        encryption.decrypt(token)


def test_an_old_key_still_reads_and_the_newest_writes(settings):
    settings.MERCURY_ENCRYPTION_KEYS = [OLD]
    token = encryption.encrypt("thunderbolt")

    settings.MERCURY_ENCRYPTION_KEYS = [NEW, OLD]
    assert encryption.decrypt(token) == "thunderbolt"
    newer = encryption.encrypt("thunderbolt")

    settings.MERCURY_ENCRYPTION_KEYS = [NEW]
    assert encryption.decrypt(newer) == "thunderbolt"


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAA==", "ünsinn"])
def test_a_token_that_is_none_is_said_so(token):
    with pytest.raises(DecryptionFailed):
        encryption.decrypt(token)


def test_a_key_that_is_none_is_said_with_the_cure_and_without_the_key(settings):
    settings.MERCURY_ENCRYPTION_KEYS = ["thunderbolt"]

    with pytest.raises(ImproperlyConfigured, match="openssl rand") as caught:
        encryption.encrypt("text")

    assert "thunderbolt" not in str(caught.value)


def test_keys_set_for_the_first_time_leave_what_was_stored_readable(settings):
    settings.MERCURY_ENCRYPTION_KEYS = []
    token = encryption.encrypt("thunderbolt")

    settings.MERCURY_ENCRYPTION_KEYS = [NEW]

    assert encryption.decrypt(token) == "thunderbolt"
    assert not encryption.is_current(token)
    assert encryption.is_current(encryption.reencrypt(token))


def test_the_first_key_writes_and_the_derived_one_does_not(settings):
    settings.MERCURY_ENCRYPTION_KEYS = [NEW]
    token = encryption.encrypt("thunderbolt")

    settings.MERCURY_ENCRYPTION_KEYS = []

    with pytest.raises(DecryptionFailed):
        encryption.decrypt(token)
