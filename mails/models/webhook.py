"""Client webhooks: where events of one API key's emails are sent, and each event on its way there."""

from django.db import models
from django.db.models import Q

from mails.models.api_key import ApiKey
from mails.models.ids import uuid7

MAX_ANSWER = 1000  # characters of an answer that are kept
BY_MERCURY = "Mercury"  # `disabled_by`, where no person has done it


class WebhookState(models.TextChoices):
    """State of a webhook."""

    ACTIVE = "active", "Active"  # nothing was sent yet, or the last attempt succeeded
    FAILING = "failing", "Failing"  # the last attempts failed; it is tried again
    DISABLED = "disabled", "Disabled"  # nothing is sent; its events wait


class Webhook(models.Model):
    """A URL that gets the events of the emails of one API key. Written by `mails.events.webhooks` alone.

    While it is disabled, nothing is sent and its position stays: once it is enabled again, it gets all it has missed, as
    far as retention has kept it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=2000, help_text="HTTPS; HTTP only to hosts in MERCURY_PRIVATE_HOSTS_ALLOWED.")
    description = models.CharField(max_length=200, blank=True)
    events = models.JSONField(default=list, blank=True, help_text="Names of the events that it gets. Empty: all.")
    addresses = models.BooleanField(
        default=False, help_text="Whether events have whole addresses; else their domains alone."
    )
    secret = models.TextField(editable=False)  # encrypted, as is the one before
    previous_secret = models.TextField(blank=True, editable=False)
    previous_secret_until = models.DateTimeField(
        null=True, editable=False, help_text="Until then requests have a signature with the previous secret, too."
    )
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=160, help_text="user:<name>, key:<name> or command line.")
    disabled_at = models.DateTimeField(null=True)
    disabled_by = models.CharField(max_length=160, blank=True, help_text="`Mercury` if it did so itself.")
    disabled_reason = models.CharField(max_length=500, blank=True)

    position = models.BigIntegerField(help_text="Id of the last event for which it has its deliveries.")
    last_success_at = models.DateTimeField(null=True, help_text="When it last accepted a delivery.")
    failing_since = models.DateTimeField(null=True, help_text="Since when it has accepted none; empty if it accepts.")
    failures = models.PositiveIntegerField(default=0, help_text="Failed attempts since the last success.")
    last_error = models.CharField(
        max_length=500, blank=True, help_text="Why the last attempt failed; empty if it did not."
    )
    rests_until = models.DateTimeField(null=True, help_text="Until then nothing is sent to it.")
    leader = models.CharField(max_length=96, blank=True, help_text="The process that sends to it.")
    leased_until = models.DateTimeField(null=True, help_text="Until then no other process sends to it.")

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.url

    @property
    def state(self) -> WebhookState:
        """Its state."""
        if self.disabled_at is not None:
            return WebhookState.DISABLED
        return WebhookState.FAILING if self.failing_since is not None else WebhookState.ACTIVE


class DeliveryStatus(models.TextChoices):
    """State of a delivery."""

    WAITING = "waiting", "Waiting"  # to be sent for the first time or again; next_attempt_at says when
    DELIVERED = "delivered", "Delivered"  # answered with a status of 200 to 299
    FAILED = "failed", "Failed"  # given up after three days, or its event is deleted


class WebhookDelivery(models.Model):
    """One event on its way to one webhook. Its content is read from the event each time it is sent.

    Redelivery resets it, so there is one row, and one message id, for each event and webhook. A test has no event.
    """

    id = models.BigAutoField(primary_key=True)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    # No foreign keys: the log outlives what retention deletes.
    event_id = models.BigIntegerField(null=True, help_text="None for a test.")
    mail_id = models.UUIDField(null=True, help_text="None for a test.")
    event = models.CharField(max_length=64, help_text="The name of the event; empty for a test.", blank=True)
    status = models.CharField(max_length=16, choices=DeliveryStatus.choices, default=DeliveryStatus.WAITING)
    attempts = models.PositiveIntegerField(default=0, help_text="Attempts since it was created or redelivered.")
    created_at = models.DateTimeField()
    first_attempt_at = models.DateTimeField(null=True, help_text="Three days later it is given up.")
    attempted_at = models.DateTimeField(null=True, help_text="When the last attempt ended.")
    next_attempt_at = models.DateTimeField(
        null=True, help_text="None once it has ended. Not before the email's previous delivery has ended."
    )
    finished_at = models.DateTimeField(null=True)
    status_code = models.PositiveSmallIntegerField(null=True, help_text="Of the last answer; None if there was none.")
    answer = models.CharField(
        max_length=MAX_ANSWER, blank=True, help_text="The beginning of the last answer, without control characters."
    )
    error = models.CharField(max_length=500, blank=True, help_text="Why the last attempt failed.")
    duration_ms = models.PositiveIntegerField(null=True, help_text="Of the last attempt.")

    class Meta:
        ordering = ("-id",)
        constraints = [
            # A fan-out that is repeated adds nothing.
            models.UniqueConstraint(fields=("webhook", "event_id"), name="one_delivery_per_event"),
            models.CheckConstraint(condition=Q(status__in=DeliveryStatus.values), name="delivery_status_known"),
            models.CheckConstraint(
                condition=Q(status="waiting", next_attempt_at__isnull=False, finished_at=None)
                | (~Q(status="waiting") & Q(next_attempt_at=None, finished_at__isnull=False)),
                name="delivery_waits_or_ended",
            ),
        ]
        indexes = [
            models.Index(fields=("webhook", "next_attempt_at"), condition=Q(status="waiting"), name="delivery_due"),
            models.Index(fields=("mail_id", "webhook", "event_id"), name="delivery_by_mail"),
            models.Index(fields=("webhook", "-id"), name="delivery_log"),
            models.Index(fields=("webhook", "-id"), condition=Q(status="failed"), name="delivery_failed"),
        ]

    def __str__(self) -> str:
        return self.message_id

    @property
    def message_id(self) -> str:
        """The `webhook-id` of its requests: the same for each attempt and redelivery, and for each webhook with the event."""
        if self.mail_id is None:
            return f"msg_test_{self.webhook_id.hex}_{self.pk}"
        return f"msg_{self.mail_id.hex}_{self.event_id}"

    @property
    def is_test(self) -> bool:
        """Whether it is a test, which has no event."""
        return self.event_id is None
