"""An email, its body and its recipients."""

import datetime as dt

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Cast, Concat, Left

from mails.models.api_key import ApiKey
from mails.models.ids import uuid7
from mails.models.querysets import MailQuerySet
from mails.queues import QueueName
from mails.states import (
    DUE,
    LEASED,
    QUARANTINE_CLAIMS,
    DeliveryGuarantee,
    RecipientKind,
    RecipientState,
    Source,
    Status,
)

ROUTE_LENGTH = 600  # characters of `Mail.route`; a longer one is cut

# Joined by "or", not "in": SQLite takes a partial index only for a condition that the query repeats word by word.
_SET_ASIDE = (
    Q(status=Status.HELD)
    | Q(status=Status.DISCARDED)
    | Q(status=Status.EXPIRED)
    | Q(status=Status.CANCELLED)
    | Q(status=Status.REJECTED)
)


class Mail(models.Model):
    """One email and its state. Its body is in `Content`, so that a change of state rewrites a small row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    api_key = models.ForeignKey(ApiKey, null=True, on_delete=models.PROTECT, related_name="mails", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="mails", db_index=False
    )
    source = models.CharField(max_length=16, choices=Source.choices)
    idempotency_key = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()
    size = models.PositiveIntegerField(help_text="Bytes of subject and content, UTF-8.")

    needs = models.CharField(
        max_length=255,
        default="",
        db_default="",
        blank=True,
        help_text="What an account must be able to carry, in words.",
    )

    sender = models.CharField(max_length=256)
    recipient = models.TextField(help_text="The addresses as the API shows them, separated by commas.")
    subject = models.CharField(max_length=512, blank=True)
    queue = models.CharField(max_length=16, choices=QueueName.choices)
    delivery_guarantee = models.CharField(max_length=16, choices=DeliveryGuarantee.choices)

    status = models.CharField(max_length=16, choices=Status.choices)
    send_at = models.DateTimeField(null=True, help_text="It is not sent before.")
    next_attempt_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    round = models.PositiveSmallIntegerField(default=1, help_text="Rounds through all accounts, counted from 1.")
    tried = models.JSONField(default=list, help_text="Accounts that refused it in this round.")
    failure_classes = models.JSONField(default=list, help_text="Failure classes of this round.")
    attempt_count = models.PositiveSmallIntegerField(default=0)
    possible_duplicate = models.BooleanField(
        default=False, help_text="The outcome of an attempt is unknown: it may be sent twice."
    )
    failure_class = models.CharField(max_length=16, blank=True, help_text="Failure class of the last refusal.")
    reason_code = models.CharField(max_length=64, blank=True)
    provider = models.CharField(max_length=64, blank=True, help_text="The account of the last attempt.")

    lease = models.UUIDField(null=True, help_text="Fencing token of the dispatcher that claimed it.")
    lease_expires_at = models.DateTimeField(null=True)
    last_event_at = models.BigIntegerField(
        null=True, help_text="Time of its last event, in nanoseconds: no later event is dated before it."
    )
    worker = models.CharField(max_length=96, blank=True, help_text="The process that claimed it.")
    routing_constraint = models.JSONField(null=True, help_text="The accounts it may use, if a reprocess limited them.")
    copy_of = models.UUIDField(null=True, help_text="The email that it was made from, which may be deleted since.")
    routing_rule = models.PositiveIntegerField(null=True, help_text="The routing rule that it matched; null: none.")
    route = models.GeneratedField(
        # PostgreSQL indexes no text of 2,700 bytes or more, and nothing must keep an email from being stored.
        expression=Left(
            Concat(
                "needs",
                Value("\t"),
                Cast("routing_constraint", models.TextField()),
                Value("\t"),
                Cast("tried", models.TextField()),
                Value("\t"),
                Cast("failure_classes", models.TextField()),
                Value("\t"),
                Cast("routing_rule", models.TextField()),
                output_field=models.TextField(),
            ),
            ROUTE_LENGTH,
        ),
        output_field=models.TextField(),
        db_persist=True,
        help_text="Emails with the same route may use the same accounts now; they are claimed together.",
    )
    claims = models.PositiveSmallIntegerField(default=0, help_text="Attempts started since the last one ended.")
    pending_action = models.TextField(default="", db_default="", blank=True, help_text="The pending action, as JSON.")
    text_removed_at = models.DateTimeField(null=True, editable=False, help_text="When retention deleted its body.")

    objects = MailQuerySet.as_manager()

    class Meta:
        verbose_name = "email"
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="mail_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=LEASED, lease__isnull=False) | (~Q(status__in=LEASED) & Q(lease__isnull=True)),
                name="mail_lease_iff_claimed",
            ),
            models.CheckConstraint(  # a set, as the migration has it: SQLite would copy the whole table for another order
                condition=~Q(status__in=frozenset(DUE)) | Q(next_attempt_at__isnull=False), name="mail_due_has_time"
            ),
        ]
        indexes = [
            models.Index(fields=("queue", "route", "next_attempt_at"), condition=Q(status__in=DUE), name="mail_due"),
            models.Index(fields=("queue", "next_attempt_at"), condition=Q(status=Status.WAITING), name="mail_waiting"),
            models.Index(
                fields=("queue", "send_at"),
                condition=Q(status=Status.QUEUED, send_at__isnull=False),
                name="mail_scheduled",
            ),
            models.Index(
                fields=("queue", "next_attempt_at"),
                condition=Q(status__in=DUE, claims__gte=QUARANTINE_CLAIMS),
                name="mail_quarantined",
            ),
            models.Index(fields=("lease_expires_at",), condition=Q(status__in=LEASED), name="mail_leased"),
            models.Index(fields=("expires_at",), condition=Q(status__in=DUE), name="mail_expiring"),
            # Sent emails are not in it: a list of them reads the primary key.
            models.Index(fields=("status", "-id"), condition=_SET_ASIDE, name="mail_set_aside"),
            models.Index(fields=("finished_at",), condition=Q(status=Status.EXPIRED), name="mail_expired"),
            models.Index(fields=("api_key", "-id"), name="mail_by_key"),
            models.Index(fields=("user", "-id"), condition=Q(user__isnull=False), name="mail_by_user"),
            models.Index(fields=("provider", "-id"), condition=~Q(provider=""), name="mail_by_provider"),
        ]

    def __str__(self) -> str:
        return self.subject or str(self.id)

    @property
    def wanted_at(self) -> dt.datetime:
        """When it was submitted, or is to be sent: it waits for Mercury since then, not before."""
        return max(self.created_at, self.send_at) if self.send_at else self.created_at

    def is_scheduled(self, now: dt.datetime) -> bool:
        """Return True while it waits for the time at which it is to be sent."""
        return self.status == Status.QUEUED and self.send_at is not None and self.send_at > now


class Content(models.Model):
    """The bodies of an email, and everything else that only the call needs."""

    mail = models.OneToOneField(Mail, primary_key=True, on_delete=models.CASCADE, related_name="content")
    text = models.TextField(blank=True)
    html = models.TextField(default="", db_default="", blank=True)
    other_fields = models.JSONField(
        null=True, help_text="The other fields of the message, such as headers and attachments."
    )

    def __str__(self) -> str:
        return f"content of {self.mail_id}"


class Recipient(models.Model):
    """One recipient of an email, with its own outcome."""

    id = models.BigAutoField(primary_key=True)
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="recipients")
    kind = models.CharField(
        max_length=3, choices=RecipientKind.choices, default=RecipientKind.TO, db_default=RecipientKind.TO
    )
    name = models.CharField(max_length=256, default="", db_default="", blank=True, help_text="The display name.")
    address = models.CharField(max_length=320)
    state = models.CharField(max_length=16, choices=RecipientState.choices, default=RecipientState.PENDING)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(condition=Q(state__in=RecipientState.values), name="recipient_state_known")
        ]
        # One for whole addresses and for beginnings; `db_index` would make two.
        indexes = [models.Index(fields=("address",), name="recipient_by_address", opclasses=["varchar_pattern_ops"])]

    def __str__(self) -> str:
        return self.address
