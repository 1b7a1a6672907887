"""Text encrypted at rest: what the database holds of a secret is of no use without the key outside of it."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class DecryptionFailed(Exception):
    """The text was encrypted with a key that this process does not have, or was changed since."""


def encrypt(text: str) -> str:
    """Return the text encrypted with the newest key, as ASCII. The same text gives another result each time."""
    return _build_cipher(tuple(settings.MERCURY_ENCRYPTION_KEYS), settings.SECRET_KEY).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Return the text that `encrypt` was given; any of the keys decrypts it. Raises DecryptionFailed, which says what to do."""
    cipher = _build_cipher(tuple(settings.MERCURY_ENCRYPTION_KEYS), settings.SECRET_KEY)
    try:
        return cipher.decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise DecryptionFailed(
            "A stored secret cannot be read with the present keys. Add the key it was written with to "
            "MERCURY_ENCRYPTION_KEYS (or give SECRET_KEY its old value), or enter the secret again."
        ) from error


def reencrypt(token: str) -> str:
    """Return the same text under the newest key. Raises DecryptionFailed."""
    return encrypt(decrypt(token))


def is_current(token: str) -> bool:
    """Return True if the text is encrypted with the newest key, so that older ones are not needed for it."""
    newest = _build_cipher(tuple(settings.MERCURY_ENCRYPTION_KEYS[:1]), settings.SECRET_KEY)._fernets[0]
    try:
        newest.decrypt(token.encode())
    except InvalidToken:
        return False
    return True


@lru_cache(maxsize=4)
def _build_cipher(keys: tuple[str, ...], secret_key: str) -> MultiFernet:
    """Return the cipher of these keys, newest first; the key from SECRET_KEY is last and reads what it wrote.

    So keys can be set for the first time while secrets are stored.
    """
    derived = Fernet(_derive_key(secret_key))
    try:
        return MultiFernet([*(Fernet(key) for key in keys), derived])
    except ValueError as error:
        raise ImproperlyConfigured(
            "MERCURY_ENCRYPTION_KEYS: a key is not 32 bytes in URL-safe base64. "
            "Make one with `openssl rand -base64 32 | tr '+/' '-_'`."
        ) from error


def _derive_key(secret_key: str) -> bytes:
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"mercury provider options")
    return base64.urlsafe_b64encode(kdf.derive(secret_key.encode()))
