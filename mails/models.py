"""Tables of a mail's life. Constraints that must hold whatever the code does live here, in the database."""

import datetime as dt
import uuid

import uuid_utils
from django.conf import settings
from django.db import models
from django.db.models import Q

from mails.lanes import Lane
from mails.querysets import EventQuerySet, MailQuerySet
from mails.states import (
    DUE,
    LEASED,
    QUARANTINE_CLAIMS,
    Action,
    AttemptState,
    Counted,
    Level,
    Policy,
    RecipientState,
    Source,
    Status,
)


def uuid7() -> uuid.UUID:
    """A UUID version 7 (RFC 9562): unique, and ordered by the millisecond it was made in."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def first_id(moment: dt.datetime) -> uuid.UUID:
    """The smallest id that a mail of `moment` or later can have: ids begin with their millisecond."""
    milliseconds = min(max(int(moment.timestamp() * 1000), 0), 2**48 - 1)
    return uuid.UUID(int=milliseconds << 80)


def moment_of(mail_id: uuid.UUID) -> dt.datetime:
    """When the id was made, to the millisecond, by the clock of the machine that made it."""
    return dt.datetime.fromtimestamp((mail_id.int >> 80) / 1000, dt.UTC)


def _named(by: str) -> str:
    """Who did something, as people are told: a person by the name alone."""
    return by.removeprefix("user:")


class ApiKey(models.Model):
    """A key an application signs in with. The key itself is shown once and never stored."""

    name = models.CharField(max_length=64, help_text="The application that uses the key.")
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)  # SHA-256, hex
    old_prefix = models.CharField(max_length=16, blank=True, editable=False)  # after a rotation, until old_expires_at
    old_secret_hash = models.CharField(max_length=64, blank=True, editable=False)
    old_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    scopes = models.JSONField(default=list, help_text="What the key may do.")
    senders = models.JSONField(default=list, blank=True, help_text="Addresses it may send as; @example.com or *.")
    rate = models.CharField(
        max_length=16, blank=True, default="", db_default="", help_text="Mails it may hand in, such as 600/m."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ("name", "id")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_usable(self, now: dt.datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class SenderPermission(models.Model):
    """An address a person may send as with the form; `*` stands for any. Superusers need none."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sender_permissions")
    address = models.CharField(max_length=256)

    class Meta:
        ordering = ("address",)
        constraints = [models.UniqueConstraint(fields=("user", "address"), name="one_permission_per_address")]

    def __str__(self) -> str:
        return self.address


# Joined by "or", not "in": SQLite takes a partial index only for a condition that the query repeats word by word.
_SET_ASIDE = (
    Q(status=Status.HELD)
    | Q(status=Status.DISCARDED)
    | Q(status=Status.EXPIRED)
    | Q(status=Status.CANCELLED)
    | Q(status=Status.REJECTED)
)


class Mail(models.Model):
    """One mail and where it stands. The text lives in `Content`, so that a change of state rewrites a small row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    api_key = models.ForeignKey(ApiKey, null=True, on_delete=models.PROTECT, related_name="mails", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="mails", db_index=False
    )
    source = models.CharField(max_length=16, choices=Source.choices)
    idempotency_key = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()
    size = models.PositiveIntegerField(help_text="Bytes of subject and content, UTF-8.")

    sender = models.CharField(max_length=256)
    recipient = models.TextField(help_text="The addresses as answers show them, separated by commas.")
    subject = models.CharField(max_length=512, blank=True)
    lane = models.CharField(max_length=16, choices=Lane.choices)
    policy = models.CharField(max_length=16, choices=Policy.choices)

    status = models.CharField(max_length=16, choices=Status.choices)
    next_attempt_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    round = models.PositiveSmallIntegerField(default=1, help_text="Rounds through all accounts, counted from 1.")
    tried = models.JSONField(default=list, help_text="Accounts that refused it in this round.")
    faults = models.JSONField(default=list, help_text="Kinds of fault seen in this round.")
    attempt_count = models.PositiveSmallIntegerField(default=0)
    possible_duplicate = models.BooleanField(
        default=False, help_text="An attempt's outcome is unknown: it may be sent twice."
    )
    fault = models.CharField(max_length=16, blank=True, help_text="Kind of the last fault.")
    reason_code = models.CharField(max_length=64, blank=True)
    provider = models.CharField(max_length=64, blank=True, help_text="The account that had it last.")

    lease = models.UUIDField(null=True, help_text="Token of the dispatcher that holds it.")
    lease_expires_at = models.DateTimeField(null=True)
    last_event_at = models.BigIntegerField(
        null=True, help_text="When its last event was, in nanoseconds: a clock that goes back dates none before it."
    )
    worker = models.CharField(max_length=96, blank=True, help_text="The process that holds it.")
    bounds = models.JSONField(
        null=True, help_text="The accounts it may go through, where it was sent anew through some."
    )
    claims = models.PositiveSmallIntegerField(default=0, help_text="Calls begun since one was last closed.")
    pending_action = models.TextField(
        default="", db_default="", blank=True, help_text="What was asked for during the call under way, as JSON."
    )
    text_removed_at = models.DateTimeField(null=True, editable=False, help_text="When retention removed its text.")

    objects = MailQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="mail_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=LEASED, lease__isnull=False) | (~Q(status__in=LEASED) & Q(lease__isnull=True)),
                name="mail_lease_iff_in_hand",
            ),
            models.CheckConstraint(  # a set, as the migration has it: SQLite would copy the whole table for another order
                condition=~Q(status__in=frozenset(DUE)) | Q(next_attempt_at__isnull=False), name="mail_due_has_time"
            ),
        ]
        indexes = [
            models.Index(fields=("lane", "next_attempt_at"), condition=Q(status__in=DUE), name="mail_due"),
            models.Index(
                fields=("lane", "next_attempt_at"),
                condition=Q(status__in=DUE, claims__gte=QUARANTINE_CLAIMS),
                name="mail_quarantined",
            ),
            models.Index(fields=("lease_expires_at",), condition=Q(status__in=LEASED), name="mail_leased"),
            models.Index(fields=("expires_at",), condition=Q(status__in=DUE), name="mail_expiring"),
            # What went well leaves no trace here: a list of sent mails goes along the primary key.
            models.Index(fields=("status", "-id"), condition=_SET_ASIDE, name="mail_set_aside"),
            models.Index(fields=("finished_at",), condition=Q(status=Status.EXPIRED), name="mail_expired"),
            models.Index(fields=("api_key", "-id"), name="mail_by_key"),
            models.Index(fields=("user", "-id"), condition=Q(user__isnull=False), name="mail_by_user"),
            models.Index(fields=("provider", "-id"), condition=~Q(provider=""), name="mail_by_provider"),
        ]

    def __str__(self) -> str:
        return self.subject or str(self.id)


class Content(models.Model):
    """The body of a mail."""

    mail = models.OneToOneField(Mail, primary_key=True, on_delete=models.CASCADE, related_name="content")
    text = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"content of {self.mail_id}"


class Recipient(models.Model):
    """One recipient of a mail, with its own outcome."""

    id = models.BigAutoField(primary_key=True)
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="recipients")
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


class Attempt(models.Model):
    """One call of a provider. Committed open before the call, closed once after it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveSmallIntegerField()
    account = models.CharField(max_length=64)
    lease = models.UUIDField()
    state = models.CharField(max_length=16, choices=AttemptState.choices, default=AttemptState.OPEN)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    latency_ms = models.PositiveIntegerField(null=True, help_text="Milliseconds the call took.")
    fault = models.CharField(max_length=16, blank=True)
    reason_code = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
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


class Event(models.Model):
    """A step in a mail's life. Append-only: the database itself refuses to change or delete one (migrations 0002, 0008).

    On PostgreSQL the table is partitioned by the month of `created_at`, and its key is (id, created_at).
    """

    id = models.BigAutoField(primary_key=True)
    # No constraint: it took a sixth of an insert, and retention drops whole months after their mails are gone.
    mail = models.ForeignKey(Mail, on_delete=models.PROTECT, related_name="events", db_index=False, db_constraint=False)
    created_at = models.BigIntegerField(help_text="Nanoseconds since the Unix epoch.")
    created_by = models.CharField(max_length=128)
    event = models.CharField(max_length=64)
    blob = models.TextField(blank=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        indexes = [models.Index(fields=("mail", "id"), name="event_by_mail")]

    def __str__(self) -> str:
        return self.event


class IdempotencyKey(models.Model):
    """A key that a client sent with a mail, and the mail it led to. Written in the mail's own transaction."""

    id = models.BigAutoField(primary_key=True)
    owner = models.CharField(max_length=64, help_text="key:<id> or user:<id>")
    key = models.CharField(max_length=255)
    body_hash = models.CharField(max_length=64)  # SHA-256, hex
    # No constraint: without an index each deleted mail would have to look through all keys, and those go long before.
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("owner", "key"), name="one_row_per_idempotency_key")]

    def __str__(self) -> str:
        return self.key


class Pause(models.Model):
    """Pause of one queue, or of all sending where the queue is blank. Until it is resumed, none of its emails is sent.

    Rows are kept: who paused what, when and why, and who resumed it.
    """

    id = models.BigAutoField(primary_key=True)
    queue = models.CharField(max_length=16, choices=Lane.choices, blank=True, help_text="Blank: all sending.")
    paused_at = models.DateTimeField()
    paused_by = models.CharField(max_length=128)
    note = models.TextField(blank=True)
    at_start = models.BooleanField(default=False, help_text="Made because of MERCURY_START_PAUSED.")
    resumed_at = models.DateTimeField(null=True)
    resumed_by = models.CharField(max_length=128, blank=True)

    class Meta:
        verbose_name = "pause"
        constraints = [
            models.UniqueConstraint(
                fields=("queue",), condition=Q(resumed_at__isnull=True), name="one_active_pause_per_queue"
            )
        ]

    def __str__(self) -> str:
        return f"{self.queue or 'all sending'} paused by {self.paused_by}"

    @property
    def who(self) -> str:
        """Name who paused it, for people."""
        return _named(self.paused_by)


class BulkOrder(models.Model):
    """Something asked of many mails: who asked, why, of which, and how far it has come. Written by `bulk` only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    action = models.CharField(max_length=16, choices=Action.choices)
    asked_by = models.CharField(max_length=128)
    asked_at = models.DateTimeField(help_text="What came in later is not meant.")
    note = models.TextField(blank=True)
    words = models.TextField(help_text="Which mails, in words.")
    query = models.TextField(blank=True, help_text="The filter that chose them, as a URL's query.")
    ticked = models.JSONField(null=True, help_text="The ids that were ticked, where no filter chose.")
    also = models.JSONField(default=list, help_text="Whom it takes because they were asked for.")
    how = models.CharField(
        max_length=80, default="", db_default="", blank=True, help_text="Through which accounts, as `How` says it."
    )
    total = models.PositiveIntegerField(null=True, help_text="Mails to look at; unknown where they are very many.")

    turns = models.PositiveIntegerField(default=0, help_text="Batches begun: the fence between two processes.")
    reached = models.UUIDField(null=True, help_text="The last mail that was looked at.")
    seen = models.PositiveIntegerField(default=0, help_text="Mails looked at.")
    done = models.PositiveIntegerField(default=0)
    requested = models.PositiveIntegerField(default=0, help_text="Done when the call under way is closed.")
    changed = models.PositiveIntegerField(default=0, help_text="Moved on meanwhile.")
    left_out = models.JSONField(default=dict, help_text="Why -> how many.")
    finished_at = models.DateTimeField(null=True)
    stopped_by = models.CharField(max_length=128, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=("id",), condition=Q(finished_at__isnull=True), name="bulk_order_unfinished")]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.words}"

    @property
    def who(self) -> str:
        """Who asked for it, as people are told."""
        return _named(self.asked_by)

    @property
    def who_stopped(self) -> str:
        """Who stopped it, as people are told."""
        return _named(self.stopped_by)


class Worker(models.Model):
    """A process that dispatches. Its heartbeat tells others when to take over what it holds."""

    id = models.CharField(primary_key=True, max_length=96, help_text="host:pid:random")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    lanes = models.JSONField(default=list)
    concurrency = models.PositiveIntegerField(default=0, help_text="Calls under way at most.")
    in_flight = models.PositiveIntegerField(default=0, help_text="Calls under way.")
    closed = models.PositiveBigIntegerField(default=0, help_text="Calls that came back since it started.")
    done = models.PositiveBigIntegerField(default=0, help_text="Mails that a provider took since it started.")
    polled_at = models.DateTimeField(null=True, help_text="When it last looked for due mails.")
    trouble = models.CharField(
        max_length=200, default="", db_default="", blank=True, help_text="What its machine lacked in the last minute."
    )
    leases_kept = models.JSONField(
        default=list,
        null=True,  # for a worker of the version before, while two versions run
        help_text="Emails that it holds beyond the end of their leases: ids. They count while its heartbeat does.",
    )

    def __str__(self) -> str:
        return self.id


class PeriodicTask(models.Model):
    """A periodic task of the whole house; whichever process holds the row's lease does it."""

    name = models.CharField(primary_key=True, max_length=32)
    leader = models.CharField(max_length=96, blank=True)
    expires_at = models.DateTimeField(null=True)
    done_until = models.DateTimeField(null=True, help_text="How far it has come, where it follows the time.")

    def __str__(self) -> str:
        return self.name


class Rollup(models.Model):
    """Figures of one stretch of time. Rows of the same level, start and key add up; see `rollups`."""

    id = models.BigAutoField(primary_key=True)
    level = models.CharField(max_length=12, choices=Level.choices)
    start = models.DateTimeField(help_text="When the stretch began.")
    kind = models.CharField(max_length=12, choices=Counted.choices)
    lane = models.CharField(max_length=16, blank=True)
    account = models.CharField(max_length=64, blank=True)
    application = models.BigIntegerField(default=0, help_text="The API key's number; 0 for people and commands.")
    outcome = models.CharField(max_length=16, blank=True)
    fault = models.CharField(max_length=16, blank=True)
    count = models.BigIntegerField()
    total_us = models.BigIntegerField(default=0, help_text="Sum of the durations, in microseconds.")
    buckets = models.JSONField(default=dict, help_text="Durations by bucket; see `histogram`.")

    class Meta:
        indexes = [models.Index(fields=("level", "start"), name="rollup_by_start")]

    def __str__(self) -> str:
        return f"{self.count} × {self.kind} {self.outcome} ({self.level} {self.start:%Y-%m-%d %H:%M})"
