"""Sends one mail and records its outcome; every kind of task calls it."""

import threading

from anymail.exceptions import AnymailError
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from outbox.models import Mail

_kept = threading.local()


def deliver(mail_id: int) -> None:
    """Send the mail, and write down how it went."""
    mail = Mail.objects.get(pk=mail_id)
    message = EmailMultiAlternatives(
        mail.subject, mail.content, mail.sender, [mail.recipient], connection=_connection()
    )
    if settings.ATTACHMENT:
        message.attach_alternative(f"<p>{mail.content}</p>", "text/html")
        message.attach_file(settings.ATTACHMENT)
    try:
        message.send()
    except (AnymailError, OSError) as error:
        mail.status, mail.error = "failed", str(error)[:2000]
    else:
        mail.status, mail.provider_message_id = "sent", message.anymail_status.message_id or ""
    mail.finished_at = timezone.now()
    mail.save(update_fields=["status", "error", "provider_message_id", "finished_at"])


def _connection() -> BaseEmailBackend | None:
    """Return the thread's own connection to the provider, or None: then each email opens one."""
    if not settings.REUSE:
        return None
    if not hasattr(_kept, "connection"):
        _kept.connection = get_connection()
        _kept.connection.open()
    return _kept.connection
