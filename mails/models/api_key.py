"""API keys, and the sender addresses of people."""

import datetime as dt

from django.conf import settings
from django.db import models


class ApiKey(models.Model):
    """A key with which an application signs in. The key itself is shown once and never stored."""

    name = models.CharField(max_length=64, help_text="The application that uses the key.")
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)  # SHA-256, hex
    old_prefix = models.CharField(max_length=16, blank=True, editable=False)  # after a rotation, until old_expires_at
    old_secret_hash = models.CharField(max_length=64, blank=True, editable=False)
    old_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    scopes = models.JSONField(default=list, help_text="What the key may do.")
    senders = models.JSONField(
        default=list, blank=True, help_text="Allowed senders: addresses, @example.com for a domain, or * for any."
    )
    rate = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text="Rate limit for submitted emails, such as 600/m.",
    )
    emails_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="Emails that it may submit in each minute of the clock."
    )
    recipients_per_day = models.PositiveIntegerField(
        null=True, blank=True, help_text="Recipients that its emails may have on each day, UTC."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ("name", "id")
        indexes = [models.Index(fields=["old_prefix"], name="api_key_by_old_prefix")]  # each request looks for both

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def has_limits(self) -> bool:
        """Return True if its emails are counted in the database."""
        return self.emails_per_minute is not None or self.recipients_per_day is not None

    def is_usable(self, now: dt.datetime) -> bool:
        """Return True if the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class SenderPermission(models.Model):
    """An address that a user may send from with the form; `*` allows any. Superusers need none."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sender_permissions")
    address = models.CharField(max_length=256)

    class Meta:
        ordering = ("address",)
        constraints = [models.UniqueConstraint(fields=("user", "address"), name="one_permission_per_address")]

    def __str__(self) -> str:
        return self.address
