"""The outbox."""

from django.db import models


class Mail(models.Model):
    """An email, and what became of it."""

    sender = models.CharField(max_length=256)
    recipient = models.CharField(max_length=256)
    subject = models.CharField(max_length=512)
    content = models.TextField()
    status = models.CharField(max_length=16, default="queued", db_index=True)
    provider_message_id = models.CharField(max_length=255, blank=True)
    error = models.TextField(blank=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "outbox"

    def __str__(self) -> str:
        return self.subject
