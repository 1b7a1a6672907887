"""The tables of emails."""

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.db.models.lookups
from django.conf import settings
from django.db import migrations, models

import mails.models.ids
from mails.migrations import _database


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="The application that uses the key.", max_length=64)),
                ("prefix", models.CharField(editable=False, max_length=16, unique=True)),
                ("secret_hash", models.CharField(editable=False, max_length=64)),
                ("old_prefix", models.CharField(blank=True, editable=False, max_length=16)),
                ("old_secret_hash", models.CharField(blank=True, editable=False, max_length=64)),
                ("old_expires_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("scopes", models.JSONField(default=list, help_text="What the key may do.")),
                (
                    "senders",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Allowed senders: addresses, @example.com for a domain, or * for any.",
                    ),
                ),
                (
                    "rate",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Rate limit for submitted emails, such as 600/m.",
                        max_length=16,
                    ),
                ),
                (
                    "emails_per_minute",
                    models.PositiveIntegerField(
                        blank=True, help_text="Emails that it may submit in each minute of the clock.", null=True
                    ),
                ),
                (
                    "recipients_per_day",
                    models.PositiveIntegerField(
                        blank=True, help_text="Recipients that its emails may have on each day, UTC.", null=True
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ("name", "id"),
                "indexes": [models.Index(fields=["old_prefix"], name="api_key_by_old_prefix")],
            },
        ),
        migrations.CreateModel(
            name="KeyUsage",
            fields=[
                (
                    "api_key",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="usage",
                        serialize=False,
                        to="mails.apikey",
                    ),
                ),
                ("minute", models.BigIntegerField(default=0, help_text="Minutes since the Unix epoch.")),
                ("emails", models.BigIntegerField(default=0, help_text="Accepted in that minute.")),
                ("day", models.BigIntegerField(default=0, help_text="Days since the Unix epoch, UTC.")),
                ("recipients", models.BigIntegerField(default=0, help_text="Of emails accepted on that day.")),
            ],
        ),
        migrations.CreateModel(
            name="Mail",
            fields=[
                (
                    "id",
                    models.UUIDField(default=mails.models.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("api", "REST API"),
                            ("form", "Form"),
                            ("command", "Command line"),
                            ("stream", "Stream"),
                        ],
                        max_length=16,
                    ),
                ),
                ("idempotency_key", models.CharField(blank=True, max_length=255)),
                ("created_at", models.DateTimeField()),
                ("size", models.PositiveIntegerField(help_text="Bytes of subject and content, UTF-8.")),
                (
                    "needs",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="What an account must be able to carry, in words.",
                        max_length=255,
                    ),
                ),
                ("sender", models.CharField(max_length=256)),
                ("recipient", models.TextField(help_text="The addresses as the API shows them, separated by commas.")),
                ("subject", models.CharField(blank=True, max_length=512)),
                (
                    "queue",
                    models.CharField(
                        choices=[
                            ("text", "Text"),
                            ("html", "HTML"),
                            ("attachment", "Attachment"),
                            ("large", "Large"),
                            ("bulk", "Bulk"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "delivery_guarantee",
                    models.CharField(
                        choices=[("at-least-once", "At least once"), ("at-most-once", "At most once")], max_length=16
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("sending", "Sending"),
                            ("waiting", "Waiting to retry"),
                            ("held", "Held"),
                            ("done", "Sent"),
                            ("discarded", "Discarded"),
                            ("expired", "Expired"),
                            ("cancelled", "Cancelled"),
                            ("rejected", "Rejected"),
                        ],
                        max_length=16,
                    ),
                ),
                ("send_at", models.DateTimeField(help_text="It is not sent before.", null=True)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "round",
                    models.PositiveSmallIntegerField(
                        default=1, help_text="Rounds through all accounts, counted from 1."
                    ),
                ),
                ("tried", models.JSONField(default=list, help_text="Accounts that refused it in this round.")),
                ("failure_classes", models.JSONField(default=list, help_text="Failure classes of this round.")),
                ("attempt_count", models.PositiveSmallIntegerField(default=0)),
                (
                    "possible_duplicate",
                    models.BooleanField(
                        default=False, help_text="The outcome of an attempt is unknown: it may be sent twice."
                    ),
                ),
                (
                    "failure_class",
                    models.CharField(blank=True, help_text="Failure class of the last refusal.", max_length=16),
                ),
                ("reason_code", models.CharField(blank=True, max_length=64)),
                ("provider", models.CharField(blank=True, help_text="The account of the last attempt.", max_length=64)),
                ("lease", models.UUIDField(help_text="Fencing token of the dispatcher that claimed it.", null=True)),
                ("lease_expires_at", models.DateTimeField(null=True)),
                (
                    "last_event_at",
                    models.BigIntegerField(
                        help_text="Time of its last event, in nanoseconds: no later event is dated before it.",
                        null=True,
                    ),
                ),
                ("worker", models.CharField(blank=True, help_text="The process that claimed it.", max_length=96)),
                (
                    "routing_constraint",
                    models.JSONField(help_text="The accounts it may use, if a reprocess limited them.", null=True),
                ),
                (
                    "copy_of",
                    models.UUIDField(
                        help_text="The email that it was made from, which may be deleted since.", null=True
                    ),
                ),
                (
                    "routing_rule",
                    models.PositiveIntegerField(help_text="The routing rule that it matched; null: none.", null=True),
                ),
                (
                    "route",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.functions.text.Left(
                            django.db.models.functions.text.Concat(
                                "needs",
                                models.Value("\t"),
                                django.db.models.functions.comparison.Cast("routing_constraint", models.TextField()),
                                models.Value("\t"),
                                django.db.models.functions.comparison.Cast("tried", models.TextField()),
                                models.Value("\t"),
                                django.db.models.functions.comparison.Cast("failure_classes", models.TextField()),
                                models.Value("\t"),
                                django.db.models.functions.comparison.Cast("routing_rule", models.TextField()),
                                output_field=models.TextField(),
                            ),
                            600,
                        ),
                        help_text="Emails with the same route may use the same accounts now; they are claimed together.",
                        output_field=models.TextField(),
                    ),
                ),
                (
                    "claims",
                    models.PositiveSmallIntegerField(default=0, help_text="Attempts started since the last one ended."),
                ),
                (
                    "pending_action",
                    models.TextField(blank=True, db_default="", default="", help_text="The pending action, as JSON."),
                ),
                (
                    "text_removed_at",
                    models.DateTimeField(editable=False, help_text="When retention deleted its body.", null=True),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="mails",
                        to="mails.apikey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="mails",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "email",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="PeriodicTask",
            fields=[
                ("name", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("leader", models.CharField(blank=True, max_length=96)),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "done_until",
                    models.DateTimeField(help_text="Up to which time it is done, if it works through time.", null=True),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.CharField(help_text="host:pid:random", max_length=96, primary_key=True, serialize=False)),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField(db_index=True)),
                ("queues", models.JSONField(default=list)),
                (
                    "concurrency",
                    models.PositiveIntegerField(default=0, help_text="Maximum number of requests in progress."),
                ),
                ("in_flight", models.PositiveIntegerField(default=0, help_text="Requests in progress.")),
                (
                    "closed",
                    models.PositiveBigIntegerField(default=0, help_text="Requests that ended since it started."),
                ),
                (
                    "done",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Emails that a provider accepted since it started."
                    ),
                ),
                ("polled_at", models.DateTimeField(help_text="When it last looked for due emails.", null=True)),
                (
                    "trouble",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Resources that its machine lacked in the last minute.",
                        max_length=200,
                    ),
                ),
                (
                    "leases_kept",
                    models.JSONField(
                        default=list,
                        help_text="Ids of emails that it keeps after their leases ended, valid while its heartbeat is.",
                        null=True,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="BulkAction",
            fields=[
                (
                    "id",
                    models.UUIDField(default=mails.models.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("cancel", "Cancel"),
                            ("hold", "Hold"),
                            ("release", "Release"),
                            ("reprocess", "Reprocess"),
                            ("retry", "Retry now"),
                            ("reschedule", "Reschedule"),
                            ("sent", "Mark as sent"),
                            ("not-sent", "Mark as not sent"),
                        ],
                        max_length=16,
                    ),
                ),
                ("requested_by", models.CharField(max_length=128)),
                ("requested_at", models.DateTimeField(help_text="Excludes email received after this time.")),
                ("note", models.TextField(blank=True)),
                ("description", models.TextField(help_text="Which emails, in words.")),
                (
                    "query",
                    models.TextField(blank=True, help_text="The filter that selected them, as the query of a URL."),
                ),
                ("selected_ids", models.JSONField(help_text="The selected ids, if no filter was used.", null=True)),
                ("included", models.JSONField(default=list, help_text="Emails that are included on request.")),
                (
                    "account_choice",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Accounts to use, as `AccountChoice.as_text` writes it.",
                        max_length=1200,
                    ),
                ),
                (
                    "send_at",
                    models.DateTimeField(help_text="When they are to be sent, if they are rescheduled.", null=True),
                ),
                (
                    "expires_at",
                    models.DateTimeField(help_text="When they expire, if they are rescheduled.", null=True),
                ),
                (
                    "total",
                    models.PositiveIntegerField(help_text="Emails to check; null if there are very many.", null=True),
                ),
                (
                    "batches",
                    models.PositiveIntegerField(
                        default=0, help_text="Batches started: the fence between two processes."
                    ),
                ),
                ("last_examined", models.UUIDField(help_text="The last email that was checked.", null=True)),
                ("examined", models.PositiveIntegerField(default=0, help_text="Emails checked.")),
                ("done", models.PositiveIntegerField(default=0)),
                (
                    "requested",
                    models.PositiveIntegerField(default=0, help_text="Pending until the request in progress ends."),
                ),
                ("changed", models.PositiveIntegerField(default=0, help_text="Changed state in the meantime.")),
                ("skipped", models.JSONField(default=dict, help_text="Number of emails by reason.")),
                ("finished_at", models.DateTimeField(null=True)),
                ("stopped_by", models.CharField(blank=True, max_length=128)),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("finished_at__isnull", True)), fields=["id"], name="bulk_action_unfinished"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Content",
            fields=[
                (
                    "mail",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="content",
                        serialize=False,
                        to="mails.mail",
                    ),
                ),
                ("text", models.TextField(blank=True)),
                ("html", models.TextField(blank=True, db_default="", default="")),
                (
                    "other_fields",
                    models.JSONField(
                        help_text="The other fields of the message, such as headers and attachments.", null=True
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.UUIDField(default=mails.models.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("number", models.PositiveSmallIntegerField()),
                ("account", models.CharField(max_length=64)),
                ("lease", models.UUIDField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "In progress"),
                            ("accepted", "Accepted"),
                            ("refused", "Refused"),
                            ("unknown", "Outcome unknown"),
                        ],
                        default="open",
                        max_length=16,
                    ),
                ),
                ("opened_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                (
                    "latency_ms",
                    models.PositiveIntegerField(help_text="Duration of the request in milliseconds.", null=True),
                ),
                ("failure_class", models.CharField(blank=True, max_length=16)),
                ("reason_code", models.CharField(blank=True, max_length=64)),
                ("reason", models.TextField(blank=True)),
                (
                    "key_scope",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The idempotency key of its request, if a repeated one would be recognized: the attempt that had it first, and the account's login.",
                        max_length=24,
                    ),
                ),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("provider_message_id", models.CharField(blank=True, max_length=255)),
                (
                    "mail",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="mails.mail",
                    ),
                ),
            ],
            options={
                "ordering": ("mail", "number"),
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("created_at", models.BigIntegerField(help_text="Nanoseconds since the Unix epoch.")),
                ("created_by", models.CharField(max_length=128)),
                ("event", models.CharField(max_length=64)),
                ("blob", models.TextField(blank=True)),
                (
                    "mail",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="mails.mail",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("owner", models.CharField(help_text="key:<id> or user:<id>", max_length=64)),
                ("key", models.CharField(max_length=255)),
                ("body_hash", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(db_index=True)),
                (
                    "mail",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="mails.mail",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "queue",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("text", "Text"),
                            ("html", "HTML"),
                            ("attachment", "Attachment"),
                            ("large", "Large"),
                            ("bulk", "Bulk"),
                        ],
                        help_text="Blank: all sending.",
                        max_length=16,
                    ),
                ),
                ("paused_at", models.DateTimeField()),
                ("paused_by", models.CharField(max_length=128)),
                ("note", models.TextField(blank=True)),
                ("at_start", models.BooleanField(default=False, help_text="Created by MERCURY_START_PAUSED.")),
                ("resumed_at", models.DateTimeField(null=True)),
                ("resumed_by", models.CharField(blank=True, max_length=128)),
            ],
            options={
                "verbose_name": "pause",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("resumed_at__isnull", True)),
                        fields=("queue",),
                        name="one_active_pause_per_queue",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="QueueRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=64, unique=True)),
                (
                    "position",
                    models.PositiveIntegerField(
                        default=100, help_text="Rules are tried in this order, the smallest first."
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                (
                    "conditions",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='All of them must be met, such as {"tag": ["newsletter"], "recipients": {"from": 20}}. '
                        "{}: every email.",
                    ),
                ),
                ("changed_at", models.DateTimeField(editable=False)),
                ("changed_by", models.CharField(editable=False, max_length=160)),
                (
                    "queue",
                    models.CharField(
                        choices=[
                            ("text", "Text"),
                            ("html", "HTML"),
                            ("attachment", "Attachment"),
                            ("large", "Large"),
                            ("bulk", "Bulk"),
                        ],
                        max_length=16,
                    ),
                ),
            ],
            options={
                "verbose_name": "queue rule",
                "ordering": ("position", "id"),
            },
        ),
        migrations.CreateModel(
            name="QueueSettings",
            fields=[
                (
                    "queue",
                    models.CharField(
                        choices=[
                            ("text", "Text"),
                            ("html", "HTML"),
                            ("attachment", "Attachment"),
                            ("large", "Large"),
                            ("bulk", "Bulk"),
                        ],
                        max_length=16,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "share",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Percent of a worker's slots that the queue may fill while other queues have due email, "
                        "1 to 100. Blank: as in MERCURY_QUEUE_SHARES.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                    ),
                ),
                (
                    "rate",
                    models.FloatField(
                        blank=True,
                        help_text="Emails a second that all workers together begin to send. Blank: no limit.",
                        null=True,
                    ),
                ),
                ("next_at", models.DateTimeField(editable=False, null=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("changed_by", models.CharField(blank=True, editable=False, max_length=128)),
            ],
            options={
                "verbose_name": "settings of queues",
                "verbose_name_plural": "settings of queues",
                "ordering": ("queue",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("share__isnull", True),
                            models.Q(("share__gte", 1), ("share__lte", 100)),
                            _connector="OR",
                        ),
                        name="queue_share_is_percent",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("rate__isnull", True), ("rate__gt", 0), _connector="OR"),
                        name="queue_rate_is_positive",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Recipient",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("to", "To"), ("cc", "Cc"), ("bcc", "Bcc")],
                        db_default="to",
                        default="to",
                        max_length=3,
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True, db_default="", default="", help_text="The display name.", max_length=256
                    ),
                ),
                ("address", models.CharField(max_length=320)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("accepted", "Accepted"),
                            ("refused", "Permanently rejected"),
                            ("suppressed", "Suppressed"),
                        ],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                (
                    "mail",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="recipients", to="mails.mail"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "level",
                    models.CharField(
                        choices=[
                            ("fresh", "As written, not yet added to the others"),
                            ("minute", "Minute"),
                            ("ten-minutes", "Ten minutes"),
                            ("hour", "Hour"),
                            ("day", "Day"),
                            ("ever", "Since the beginning"),
                        ],
                        max_length=12,
                    ),
                ),
                ("start", models.DateTimeField(help_text="When the interval began.")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("arrival", "Submitted emails"),
                            ("first-send", "First attempts"),
                            ("call", "Provider requests"),
                            ("end", "Emails finished or put on hold"),
                            ("suppressed", "Suppressed recipients"),
                        ],
                        max_length=12,
                    ),
                ),
                ("queue", models.CharField(blank=True, max_length=16)),
                ("account", models.CharField(blank=True, max_length=64)),
                (
                    "application",
                    models.BigIntegerField(
                        default=0, help_text="The API key's number; 0 for users and the command line."
                    ),
                ),
                ("outcome", models.CharField(blank=True, max_length=16)),
                ("failure_class", models.CharField(blank=True, max_length=16)),
                ("count", models.BigIntegerField()),
                ("total_us", models.BigIntegerField(default=0, help_text="Sum of the durations, in microseconds.")),
                ("buckets", models.JSONField(default=dict, help_text="Durations by bucket; see `histogram`.")),
            ],
            options={
                "indexes": [models.Index(fields=["level", "start"], name="rollup_by_start")],
            },
        ),
        migrations.CreateModel(
            name="SenderPermission",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(max_length=256)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sender_permissions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("address",),
            },
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("status__in", ("queued", "waiting"))),
                fields=["queue", "route", "next_attempt_at"],
                name="mail_due",
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("status", "waiting")), fields=["queue", "next_attempt_at"], name="mail_waiting"
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("send_at__isnull", False), ("status", "queued")),
                fields=["queue", "send_at"],
                name="mail_scheduled",
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("claims__gte", 1), ("status__in", ("queued", "waiting"))),
                fields=["queue", "next_attempt_at"],
                name="mail_quarantined",
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("status__in", frozenset(["sending"]))),
                fields=["lease_expires_at"],
                name="mail_leased",
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("status__in", ("queued", "waiting"))), fields=["expires_at"], name="mail_expiring"
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(
                    ("status", "held"),
                    ("status", "discarded"),
                    ("status", "expired"),
                    ("status", "cancelled"),
                    ("status", "rejected"),
                    _connector="OR",
                ),
                fields=["status", "-id"],
                name="mail_set_aside",
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(condition=models.Q(("status", "expired")), fields=["finished_at"], name="mail_expired"),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(fields=["api_key", "-id"], name="mail_by_key"),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("user__isnull", False)), fields=["user", "-id"], name="mail_by_user"
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("provider", ""), _negated=True), fields=["provider", "-id"], name="mail_by_provider"
            ),
        ),
        migrations.AddConstraint(
            model_name="mail",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            "queued",
                            "sending",
                            "waiting",
                            "held",
                            "done",
                            "discarded",
                            "expired",
                            "cancelled",
                            "rejected",
                        ],
                    )
                ),
                name="mail_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="mail",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lease__isnull", False), ("status__in", frozenset(["sending"]))),
                    models.Q(models.Q(("status__in", frozenset(["sending"])), _negated=True), ("lease__isnull", True)),
                    _connector="OR",
                ),
                name="mail_lease_iff_claimed",
            ),
        ),
        migrations.AddConstraint(
            model_name="mail",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", frozenset(["queued", "waiting"])), _negated=True),
                    ("next_attempt_at__isnull", False),
                    _connector="OR",
                ),
                name="mail_due_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(fields=("mail", "number"), name="one_attempt_per_number"),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "accepted", "refused", "unknown"])),
                name="attempt_state_known",
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["mail", "id"], name="event_by_mail"),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(fields=("owner", "key"), name="one_row_per_idempotency_key"),
        ),
        migrations.AddIndex(
            model_name="recipient",
            index=models.Index(fields=["address"], name="recipient_by_address", opclasses=["varchar_pattern_ops"]),
        ),
        migrations.AddConstraint(
            model_name="recipient",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "accepted", "refused", "suppressed"])),
                name="recipient_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="senderpermission",
            constraint=models.UniqueConstraint(fields=("user", "address"), name="one_permission_per_address"),
        ),
        migrations.CreateModel(
            name="FileContent",
            fields=[
                ("sha256", models.CharField(editable=False, max_length=64, primary_key=True, serialize=False)),
                ("size", models.BigIntegerField(help_text="Bytes.")),
                ("location", models.CharField(help_text="Its name in the storage.", max_length=255)),
                (
                    "used_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        db_index=True,
                        help_text="When it was last about to be used: it is kept for a day more.",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="UnusedFile",
            fields=[
                ("location", models.CharField(max_length=255, primary_key=True, serialize=False)),
                (
                    "delete_at",
                    models.DateTimeField(db_index=True, help_text="Bytes that are being written have a day."),
                ),
                ("is_deleting", models.BooleanField(default=False, help_text="From here on nothing can keep it.")),
            ],
        ),
        migrations.CreateModel(
            name="StoredFile",
            fields=[
                (
                    "id",
                    models.UUIDField(default=mails.models.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("filename", models.CharField(max_length=255)),
                ("content_type", models.CharField(max_length=255)),
                ("size", models.BigIntegerField(help_text="Bytes, as announced.")),
                ("received", models.BigIntegerField(default=0, help_text="Bytes that are stored already.")),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="files",
                        to="mails.apikey",
                    ),
                ),
                (
                    "content",
                    models.ForeignKey(
                        db_index=False,
                        help_text="None until all is received.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="files",
                        to="mails.filecontent",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="files",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "uploaded file",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="FilePiece",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("start", models.BigIntegerField()),
                ("size", models.BigIntegerField()),
                ("location", models.CharField(max_length=255)),
                (
                    "file",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="pieces",
                        to="mails.storedfile",
                    ),
                ),
            ],
            options={
                "ordering": ("start",),
            },
        ),
        migrations.CreateModel(
            name="MailFile",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.PositiveSmallIntegerField(help_text="Its place among the email's files, from 1.")),
                ("filename", models.CharField(max_length=255)),
                ("content_type", models.CharField(max_length=255)),
                ("size", models.BigIntegerField()),
                (
                    "cid",
                    models.CharField(
                        blank=True, help_text="The Content-ID by which the HTML shows it.", max_length=255
                    ),
                ),
                (
                    "content",
                    models.ForeignKey(
                        db_index=False,
                        help_text="None once it is deleted.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="mail_files",
                        to="mails.filecontent",
                    ),
                ),
                (
                    "mail",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="files",
                        to="mails.mail",
                    ),
                ),
            ],
            options={
                "ordering": ("number",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("content__isnull", False)), fields=["content"], name="mail_file_by_content"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("mail", "number"), name="one_mail_file_per_number")],
            },
        ),
        migrations.AddIndex(
            model_name="storedfile",
            index=models.Index(fields=["api_key", "-id"], name="file_by_key"),
        ),
        migrations.AddIndex(
            model_name="storedfile",
            index=models.Index(
                condition=models.Q(("user__isnull", False)), fields=["user", "-id"], name="file_by_user"
            ),
        ),
        migrations.AddIndex(
            model_name="storedfile",
            index=models.Index(
                condition=models.Q(("content__isnull", False)), fields=["content"], name="file_by_content"
            ),
        ),
        migrations.AddConstraint(
            model_name="storedfile",
            constraint=models.CheckConstraint(
                condition=django.db.models.lookups.GreaterThanOrEqual(models.F("size"), models.F("received")),
                name="file_received_within_size",
            ),
        ),
        migrations.AddConstraint(
            model_name="filepiece",
            constraint=models.UniqueConstraint(fields=("file", "start"), name="one_piece_per_start"),
        ),
        migrations.CreateModel(
            name="MailLabel",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "name",
                    models.CharField(blank=True, help_text="Of the metadata; blank for a tag.", max_length=40),
                ),
                ("value", models.CharField(blank=True, max_length=500)),
                (
                    "mail",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="labels", to="mails.mail"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "indexes": [models.Index(fields=["name", "value", "mail"], name="label_by_value")],
            },
        ),
        migrations.RunPython(_database.prepare, _database.undo),
        migrations.CreateModel(
            name="DownloadLink",
            fields=[
                (
                    "id",
                    models.UUIDField(default=mails.models.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "number",
                    models.PositiveSmallIntegerField(
                        help_text="The place of its file among the email's files, from 1."
                    ),
                ),
                ("filename", models.CharField(max_length=255)),
                ("content_type", models.CharField(max_length=255)),
                ("size", models.BigIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("expires_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("revoked_by", models.CharField(blank=True, max_length=128)),
                ("downloads", models.PositiveIntegerField(default=0)),
                ("max_downloads", models.PositiveIntegerField(help_text="None: no limit.", null=True)),
                (
                    "content",
                    models.ForeignKey(
                        db_index=False,
                        help_text="None once the link has ended and retention has released it.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="mails.filecontent",
                    ),
                ),
                (
                    "mail",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="mails.mail",
                    ),
                ),
            ],
            options={
                "ordering": ("mail", "number"),
            },
        ),
        migrations.CreateModel(
            name="RoutingRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=64, unique=True)),
                (
                    "position",
                    models.PositiveIntegerField(
                        default=100, help_text="Rules are tried in this order, the smallest first."
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                (
                    "conditions",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='All of them must be met, such as {"tag": ["newsletter"], "recipients": {"from": 20}}. '
                        "{}: every email.",
                    ),
                ),
                ("changed_at", models.DateTimeField(editable=False)),
                ("changed_by", models.CharField(editable=False, max_length=160)),
                (
                    "accounts",
                    models.JSONField(
                        help_text="The accounts that are allowed, each with an optional priority and weight."
                    ),
                ),
                ("note", models.CharField(blank=True, help_text="What it is for.", max_length=500)),
            ],
            options={
                "verbose_name": "routing rule",
                "ordering": ("position", "id"),
            },
        ),
        migrations.CreateModel(
            name="ConfigurationVersion",
            fields=[
                ("name", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("version", models.UUIDField()),
                ("changed_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Download",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("started_at", models.DateTimeField(db_index=True)),
                ("sent", models.BigIntegerField(help_text="Bytes that were sent, and those of answers in progress.")),
                (
                    "link",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="started",
                        to="mails.downloadlink",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Suppression",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "address",
                    models.CharField(
                        help_text="In small letters: `Hera@…` and `hera@…` are one mailbox.", max_length=320
                    ),
                ),
                (
                    "scope",
                    models.CharField(blank=True, help_text="A sender domain; blank: all senders.", max_length=255),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("hard-bounce", "Hard bounce"),
                            ("complaint", "Complaint"),
                            ("unsubscribe", "Unsubscribed"),
                            ("invalid", "Invalid address"),
                            ("manual", "By hand"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        help_text="user:<name>, key:<name>, command line, or a provider account.", max_length=160
                    ),
                ),
                (
                    "detail",
                    models.CharField(
                        blank=True, help_text="In words, such as the reply of the mail server.", max_length=500
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(help_text="None: never.", null=True)),
                ("mail_id", models.UUIDField(help_text="The email that caused it.", null=True)),
            ],
            options={
                "ordering": ("-id",),
                "default_permissions": ("add", "delete", "view"),
                "indexes": [
                    models.Index(fields=["scope", "-id"], name="suppression_by_scope"),
                    models.Index(
                        condition=models.Q(("expires_at__isnull", False)),
                        fields=["expires_at"],
                        name="suppression_expiring",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("address", "scope"), name="one_suppression_per_address"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("reason__in", ["hard-bounce", "complaint", "unsubscribe", "invalid", "manual"])
                        ),
                        name="suppression_reason_known",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="downloadlink",
            index=models.Index(
                condition=models.Q(("content__isnull", False)), fields=["content"], name="link_by_content"
            ),
        ),
        migrations.AddIndex(
            model_name="downloadlink",
            index=models.Index(
                condition=models.Q(("content__isnull", False)), fields=["expires_at"], name="link_expiring"
            ),
        ),
        migrations.AddConstraint(
            model_name="downloadlink",
            constraint=models.UniqueConstraint(fields=("mail", "number"), name="one_link_per_file"),
        ),
        migrations.AddConstraint(
            model_name="downloadlink",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("max_downloads", None), ("downloads__lte", models.F("max_downloads")), _connector="OR"
                ),
                name="link_within_limit",
            ),
        ),
        migrations.AddIndex(
            model_name="download",
            index=models.Index(fields=["link"], name="download_by_link"),
        ),
        migrations.CreateModel(
            name="EventSink",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("position", models.BigIntegerField(help_text="Id of the last event that it has.")),
                (
                    "published",
                    models.PositiveBigIntegerField(default=0, help_text="Events published since it was first used."),
                ),
                ("published_at", models.DateTimeField(help_text="When it accepted the last one.", null=True)),
                ("rate", models.FloatField(default=0.0, help_text="Events a second, over about the last minute.")),
                ("rate_since", models.DateTimeField(help_text="When the next rate is measured from …", null=True)),
                (
                    "rate_published",
                    models.PositiveBigIntegerField(default=0, help_text="… and how many were published then."),
                ),
                (
                    "last_error",
                    models.CharField(
                        blank=True, help_text="Why it accepts none now; empty if it does.", max_length=500
                    ),
                ),
                ("failing_since", models.DateTimeField(null=True)),
                (
                    "paused_by",
                    models.CharField(blank=True, help_text="Who paused it; empty if it is not paused.", max_length=150),
                ),
                ("paused_at", models.DateTimeField(null=True)),
                ("leader", models.CharField(blank=True, help_text="The process that publishes to it.", max_length=96)),
                (
                    "leased_until",
                    models.DateTimeField(help_text="Until then no other process publishes to it.", null=True),
                ),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="RejectedRecord",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("event_id", models.BigIntegerField()),
                ("reason", models.CharField(max_length=500)),
                ("rejected_at", models.DateTimeField()),
                (
                    "sink",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="rejected", to="mails.eventsink"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("sink", "event_id"), name="rejected_record_once")],
            },
        ),
        migrations.CreateModel(
            name="Webhook",
            fields=[
                (
                    "id",
                    models.UUIDField(default=mails.models.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "url",
                    models.CharField(
                        help_text="HTTPS; HTTP only to hosts in MERCURY_PRIVATE_HOSTS_ALLOWED.", max_length=2000
                    ),
                ),
                ("description", models.CharField(blank=True, max_length=200)),
                (
                    "events",
                    models.JSONField(
                        blank=True, default=list, help_text="Names of the events that it gets. Empty: all."
                    ),
                ),
                (
                    "addresses",
                    models.BooleanField(
                        default=False, help_text="Whether events have whole addresses; else their domains alone."
                    ),
                ),
                ("secret", models.TextField(editable=False)),
                ("previous_secret", models.TextField(blank=True, editable=False)),
                (
                    "previous_secret_until",
                    models.DateTimeField(
                        editable=False,
                        help_text="Until then requests have a signature with the previous secret, too.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(help_text="user:<name>, key:<name> or command line.", max_length=160)),
                ("disabled_at", models.DateTimeField(null=True)),
                (
                    "disabled_by",
                    models.CharField(blank=True, help_text="`Mercury` if it did so itself.", max_length=160),
                ),
                ("disabled_reason", models.CharField(blank=True, max_length=500)),
                ("position", models.BigIntegerField(help_text="Id of the last event for which it has its deliveries.")),
                ("last_success_at", models.DateTimeField(help_text="When it last accepted a delivery.", null=True)),
                (
                    "failing_since",
                    models.DateTimeField(help_text="Since when it has accepted none; empty if it accepts.", null=True),
                ),
                (
                    "failures",
                    models.PositiveIntegerField(default=0, help_text="Failed attempts since the last success."),
                ),
                (
                    "last_error",
                    models.CharField(
                        blank=True, help_text="Why the last attempt failed; empty if it did not.", max_length=500
                    ),
                ),
                ("rests_until", models.DateTimeField(help_text="Until then nothing is sent to it.", null=True)),
                ("leader", models.CharField(blank=True, help_text="The process that sends to it.", max_length=96)),
                ("leased_until", models.DateTimeField(help_text="Until then no other process sends to it.", null=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="webhooks", to="mails.apikey"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("event_id", models.BigIntegerField(help_text="None for a test.", null=True)),
                ("mail_id", models.UUIDField(help_text="None for a test.", null=True)),
                (
                    "event",
                    models.CharField(blank=True, help_text="The name of the event; empty for a test.", max_length=64),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("delivered", "Delivered"), ("failed", "Failed")],
                        default="waiting",
                        max_length=16,
                    ),
                ),
                (
                    "attempts",
                    models.PositiveIntegerField(default=0, help_text="Attempts since it was created or redelivered."),
                ),
                ("created_at", models.DateTimeField()),
                ("first_attempt_at", models.DateTimeField(help_text="Three days later it is given up.", null=True)),
                ("attempted_at", models.DateTimeField(help_text="When the last attempt ended.", null=True)),
                (
                    "next_attempt_at",
                    models.DateTimeField(
                        help_text="None once it has ended. Not before the email's previous delivery has ended.",
                        null=True,
                    ),
                ),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "status_code",
                    models.PositiveSmallIntegerField(
                        help_text="Of the last answer; None if there was none.", null=True
                    ),
                ),
                (
                    "answer",
                    models.CharField(
                        blank=True,
                        help_text="The beginning of the last answer, without control characters.",
                        max_length=1000,
                    ),
                ),
                ("error", models.CharField(blank=True, help_text="Why the last attempt failed.", max_length=500)),
                ("duration_ms", models.PositiveIntegerField(help_text="Of the last attempt.", null=True)),
                (
                    "webhook",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="mails.webhook",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "waiting")),
                        fields=["webhook", "next_attempt_at"],
                        name="delivery_due",
                    ),
                    models.Index(fields=["mail_id", "webhook", "event_id"], name="delivery_by_mail"),
                    models.Index(fields=["webhook", "-id"], name="delivery_log"),
                    models.Index(
                        condition=models.Q(("status", "failed")), fields=["webhook", "-id"], name="delivery_failed"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("webhook", "event_id"), name="one_delivery_per_event"),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["waiting", "delivered", "failed"])),
                        name="delivery_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at", None), ("next_attempt_at__isnull", False), ("status", "waiting")),
                            models.Q(
                                models.Q(("status", "waiting"), _negated=True),
                                ("finished_at__isnull", False),
                                ("next_attempt_at", None),
                            ),
                            _connector="OR",
                        ),
                        name="delivery_waits_or_ended",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SubmissionStream",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("target", models.CharField(help_text="Where its records come from, without secrets.", max_length=300)),
                (
                    "key_prefix",
                    models.CharField(help_text="The API key as which its emails are accepted.", max_length=16),
                ),
                (
                    "consumed",
                    models.PositiveBigIntegerField(default=0, help_text="Records finished since it was first used."),
                ),
                (
                    "accepted",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Emails that they led to; repeated ones count once."
                    ),
                ),
                (
                    "rejected",
                    models.PositiveBigIntegerField(default=0, help_text="Records that went to its dead letters."),
                ),
                ("last_rejection", models.CharField(blank=True, help_text="Why the last of them did.", max_length=500)),
                ("rate", models.FloatField(default=0.0, help_text="Records a second, over about the last minute.")),
                ("rate_since", models.DateTimeField(help_text="When the next rate is measured from …")),
                ("rate_consumed", models.PositiveBigIntegerField(default=0, help_text="… and what was consumed then.")),
                (
                    "lag",
                    models.PositiveBigIntegerField(
                        help_text="Records that wait in it; null where it does not say.", null=True
                    ),
                ),
                (
                    "lag_seconds",
                    models.FloatField(help_text="Age of the next record; null where it does not say.", null=True),
                ),
                ("last_at", models.DateTimeField(help_text="When a record was last finished.", null=True)),
                (
                    "last_error",
                    models.CharField(blank=True, help_text="Why nothing is accepted; empty if it is.", max_length=500),
                ),
                ("failing_since", models.DateTimeField(null=True)),
                (
                    "is_key_unusable",
                    models.BooleanField(default=False, help_text="True if the error is about the API key."),
                ),
                (
                    "paused_by",
                    models.CharField(blank=True, help_text="Who paused it; empty if it is not paused.", max_length=150),
                ),
                ("paused_at", models.DateTimeField(null=True)),
                ("seen_at", models.DateTimeField(help_text="When a process last looked at it.", null=True)),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="StreamShard",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("shard", models.CharField(max_length=128)),
                (
                    "position",
                    models.CharField(
                        blank=True, help_text="Sequence number of the last record that is finished.", max_length=128
                    ),
                ),
                (
                    "is_finished",
                    models.BooleanField(
                        default=False, help_text="True if the shard was closed, and all of it was read."
                    ),
                ),
                ("leader", models.CharField(blank=True, help_text="The process that reads it.", max_length=96)),
                ("leased_until", models.DateTimeField(help_text="Until then no other process reads it.", null=True)),
                ("lag_seconds", models.FloatField(null=True)),
                (
                    "stream",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="shards", to="mails.submissionstream"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("stream", "shard"), name="one_row_per_shard")],
            },
        ),
    ]
