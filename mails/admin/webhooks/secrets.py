"""The secret of a webhook between the page that makes it and the page that shows it, once."""

from django.http import HttpRequest

from mails.models import Webhook
from mercury.lib import encryption

_SESSION_KEY = "webhook-secret-to-show-once"


def keep(request: HttpRequest, webhook: Webhook, secret: str) -> None:
    """Keep the secret, encrypted, for the next page."""
    request.session[_SESSION_KEY] = {"webhook": str(webhook.pk), "text": encryption.encrypt(secret)}


def pop(request: HttpRequest, webhook: Webhook) -> str:
    """Return the secret that was just made, and forget it, so that a reload does not show it again; else an empty text."""
    kept = request.session.get(_SESSION_KEY)
    if not kept or kept["webhook"] != str(webhook.pk):
        return ""
    del request.session[_SESSION_KEY]
    return encryption.decrypt(kept["text"])
