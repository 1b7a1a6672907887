"""The suppression list: addresses that get no email."""

from django.db import models
from django.db.models import Q

from mails.models.people import format_person
from mails.states import SuppressionReason


class Suppression(models.Model):
    """An address that gets no email: from anybody, or from the senders of one domain.

    Written by `mails.suppression.entries` alone, which normalizes the address.
    """

    id = models.BigAutoField(primary_key=True)
    address = models.CharField(max_length=320, help_text="In small letters: `Hera@…` and `hera@…` are one mailbox.")
    scope = models.CharField(max_length=255, blank=True, help_text="A sender domain; blank: all senders.")
    reason = models.CharField(max_length=16, choices=SuppressionReason.choices)
    source = models.CharField(max_length=160, help_text="user:<name>, key:<name>, command line, or a provider account.")
    detail = models.CharField(max_length=500, blank=True, help_text="In words, such as the reply of the mail server.")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, help_text="None: never.")
    # No foreign key: the entry outlives the email, and retention has nothing to look up here.
    mail_id = models.UUIDField(null=True, help_text="The email that caused it.")

    class Meta:
        ordering = ("-id",)
        default_permissions = ("add", "delete", "view")  # one is added again to replace it, never edited
        constraints = [
            # The address first: this index is the one that checks use.
            models.UniqueConstraint(fields=("address", "scope"), name="one_suppression_per_address"),
            models.CheckConstraint(condition=Q(reason__in=SuppressionReason.values), name="suppression_reason_known"),
        ]
        indexes = [
            models.Index(fields=("scope", "-id"), name="suppression_by_scope"),
            models.Index(fields=("expires_at",), condition=Q(expires_at__isnull=False), name="suppression_expiring"),
        ]

    def __str__(self) -> str:
        return self.address

    @property
    def who(self) -> str:
        """Who added it, for people."""
        return format_person(self.source)
