"""Attempts: one row for each provider call."""

from django.db import models
from django.db.models import Q

from mails.models.ids import uuid7
from mails.models.mail import Mail
from mails.states import (
    AttemptState,
)


class Attempt(models.Model):
    """One request to a provider. Committed as open before the request, closed once after it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveSmallIntegerField()
    account = models.CharField(max_length=64)
    lease = models.UUIDField()
    state = models.CharField(max_length=16, choices=AttemptState.choices, default=AttemptState.OPEN)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    latency_ms = models.PositiveIntegerField(null=True, help_text="Duration of the request in milliseconds.")
    failure_class = models.CharField(max_length=16, blank=True)
    reason_code = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
    key_scope = models.CharField(
        max_length=24,
        default="",
        db_default="",
        blank=True,
        help_text="The idempotency key of its request, if a repeated one would be recognized: the attempt that had it first, "
        "and the account's login.",
    )
    status_code = models.PositiveSmallIntegerField(null=True)
    provider_message_id = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ("mail", "number")
        constraints = [
            models.UniqueConstraint(fields=("mail", "number"), name="one_attempt_per_number"),
            models.CheckConstraint(condition=Q(state__in=AttemptState.values), name="attempt_state_known"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} by {self.account}"
