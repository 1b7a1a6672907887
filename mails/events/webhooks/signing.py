"""Secrets of webhooks and the signatures made with them, as Standard Webhooks defines them."""

import base64
import datetime as dt
import secrets

from standardwebhooks import Webhook as Signer

from mails.models import Webhook
from mercury.lib import encryption

SECRET_BYTES = 32  # the standard asks for 24 to 64


def generate_secret() -> str:
    """Return a new secret, `whsec_…`."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def read_secrets(webhook: Webhook, now: dt.datetime) -> list[str]:
    """Return the secrets to sign with: its own, and the previous one for as long as that is valid. Raises DecryptionFailed."""
    tokens = [webhook.secret]
    if webhook.previous_secret and webhook.previous_secret_until is not None and webhook.previous_secret_until > now:
        tokens.append(webhook.previous_secret)
    return [encryption.decrypt(token) for token in tokens]


def build_headers(signers: list[Signer], message_id: str, body: bytes, now: dt.datetime) -> dict[str, str]:
    """Return the headers of a request with this body: its id, its time, and a signature with each secret."""
    text = body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(message_id, now, text) for signer in signers),
    }
