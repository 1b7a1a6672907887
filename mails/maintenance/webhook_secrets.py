"""Encrypts the secrets of webhooks with the newest key, so that an older one can be removed."""

import datetime as dt

import structlog
from django.db.models import Q

from mails.models import Webhook
from mercury.lib import encryption

log = structlog.get_logger(__name__)

TASK = "webhook-secrets"
EVERY = dt.timedelta(minutes=10)
_COLUMNS = ("secret", "previous_secret")


def encrypt_again() -> int:
    """Encrypt those that are encrypted with an older key, and return their number. What no key reads stays as it is.

    Several processes may do it at once; a secret that is rotated at the same time is left alone.
    """
    count = 0
    for pk, *tokens in Webhook.objects.order_by("pk").values_list("pk", *_COLUMNS):
        for column, token in zip(_COLUMNS, tokens, strict=True):
            if token and not encryption.is_current(token):
                count += _encrypt(Q(pk=pk, **{column: token}), column, token)
    if count:
        log.info("webhook_secrets_encrypted", count=count)
    return count


def _encrypt(row: Q, column: str, token: str) -> int:
    try:
        return Webhook.objects.filter(row).update(**{column: encryption.reencrypt(token)})
    except encryption.DecryptionFailed as error:
        log.warning("webhook_secret_unreadable", reason=str(error))
        return 0
