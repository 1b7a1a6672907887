"""The tables of provider accounts."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Account",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(help_text="Lower case letters, digits, and dashes.", max_length=64, unique=True),
                ),
                ("kind", models.CharField(max_length=32)),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("environment", "Environment"),
                            ("database", "Admin or API"),
                            ("default", "Sandbox by default"),
                        ],
                        default="database",
                        max_length=16,
                    ),
                ),
                ("secret_options", models.TextField(blank=True, editable=False)),
                (
                    "weight",
                    models.PositiveSmallIntegerField(default=1, help_text="Relative share of traffic (0 = none)."),
                ),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        db_default=1,
                        default=1,
                        help_text="1 goes first; accounts of the next number take email when none before them can.",
                    ),
                ),
                ("rate", models.FloatField(blank=True, help_text="Requests per second; empty = no limit.", null=True)),
                (
                    "trust_500",
                    models.BooleanField(
                        default=False,
                        help_text="On HTTP 500: treat the email as not sent.",
                        verbose_name="treat HTTP 500 as not sent",
                    ),
                ),
                (
                    "daily_quota",
                    models.PositiveIntegerField(blank=True, help_text="A day at most; empty = no limit.", null=True),
                ),
                (
                    "monthly_quota",
                    models.PositiveIntegerField(blank=True, help_text="A month at most; empty = no limit.", null=True),
                ),
                (
                    "quota_spread",
                    models.BooleanField(
                        blank=True, help_text="Each day gets an equal share of what is left of the month.", null=True
                    ),
                ),
                (
                    "quota_zone",
                    models.CharField(default="UTC", help_text="Time zone in which a day begins.", max_length=64),
                ),
                (
                    "quota_month_day",
                    models.PositiveSmallIntegerField(default=1, help_text="Day on which a month begins, 1 to 28."),
                ),
                (
                    "warm_up",
                    models.CharField(
                        blank=True, help_text="First day and ramp; see providers.quotas.", max_length=1000
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "verbose_name": "provider account",
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="FailureMode",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="failure_mode",
                        serialize=False,
                        to="providers.account",
                    ),
                ),
                ("kind", models.CharField(help_text="slow, refuse, hang, lose or flap", max_length=16)),
                (
                    "value",
                    models.FloatField(
                        default=0, help_text="slow: seconds; refuse: status code; flap: seconds of each phase."
                    ),
                ),
                ("until", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="RefusalRun",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="refusal_run",
                        serialize=False,
                        to="providers.account",
                    ),
                ),
                ("version", models.BigIntegerField(default=0)),
                (
                    "marks",
                    models.CharField(
                        blank=True, help_text="Of the emails refused since the last acceptance.", max_length=255
                    ),
                ),
                ("first_at", models.DateTimeField(help_text="When the first of them was refused.", null=True)),
                (
                    "began_at",
                    models.DateTimeField(help_text="When it last began to refuse everything.", null=True),
                ),
                (
                    "noticed_at",
                    models.DateTimeField(
                        help_text="From then on its refusals counted as account failures …", null=True
                    ),
                ),
                ("ended_at", models.DateTimeField(help_text="… until it accepted something again.", null=True)),
                ("reason", models.CharField(blank=True, max_length=200)),
            ],
        ),
        migrations.CreateModel(
            name="Breaker",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="breaker",
                        serialize=False,
                        to="providers.account",
                    ),
                ),
                ("version", models.BigIntegerField(default=0)),
                (
                    "mode",
                    models.CharField(
                        choices=[("auto", "Automatic"), ("open", "Forced open"), ("closed", "Forced closed")],
                        default="auto",
                        max_length=8,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("closed", "Closed"), ("open", "Open"), ("half-open", "Half-open")],
                        default="closed",
                        max_length=16,
                    ),
                ),
                (
                    "epoch",
                    models.PositiveIntegerField(
                        default=0, help_text="Grows with each change of state; older results are void."
                    ),
                ),
                ("window_started_at", models.DateTimeField(null=True)),
                ("window_calls", models.PositiveIntegerField(default=0)),
                ("window_failures", models.PositiveIntegerField(default=0)),
                (
                    "trips",
                    models.PositiveSmallIntegerField(default=0, help_text="Openings in a row; each doubles the wait."),
                ),
                ("opened_at", models.DateTimeField(null=True)),
                ("open_until", models.DateTimeField(null=True)),
                ("probe_until", models.DateTimeField(help_text="Lease of the one probe in progress.", null=True)),
                (
                    "slots",
                    models.PositiveIntegerField(
                        help_text="Concurrent requests while recovering; null = no limit.", null=True
                    ),
                ),
                ("limited_until", models.DateTimeField(help_text="The provider asked to wait until then.", null=True)),
                (
                    "call_limit",
                    models.PositiveIntegerField(
                        help_text="Concurrent requests of one process, learned from refusals; null = no refusal yet.",
                        null=True,
                    ),
                ),
                (
                    "call_limit_until",
                    models.DateTimeField(help_text="The learned limit is not raised before this time.", null=True),
                ),
                (
                    "next_call_at",
                    models.DateTimeField(help_text="Rate limit: when the next request is free (GCRA).", null=True),
                ),
                (
                    "quota_day",
                    models.DateField(help_text="The provider's day that is counted.", null=True),
                ),
                ("quota_day_used", models.PositiveIntegerField(default=0)),
                (
                    "quota_month",
                    models.DateField(help_text="First day of the provider's month that is counted.", null=True),
                ),
                ("quota_month_used", models.PositiveIntegerField(default=0)),
                (
                    "out_of_quota_since",
                    models.DateTimeField(help_text="When the provider said that a quota is used up.", null=True),
                ),
                (
                    "out_of_quota_until",
                    models.DateTimeField(help_text="null: until an operator opens the account.", null=True),
                ),
                (
                    "out_of_quota_reason",
                    models.CharField(blank=True, help_text="The provider's words.", max_length=200),
                ),
                ("last_failure", models.CharField(blank=True, max_length=200)),
                ("last_failure_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["closed", "open", "half-open"])), name="breaker_state_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("mode__in", ["auto", "open", "closed"])), name="breaker_mode_known"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BreakerChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "account_name",
                    models.CharField(
                        db_default="", help_text="The account's name, also after it was deleted.", max_length=64
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("by", models.CharField(max_length=128)),
                ("what", models.CharField(help_text="In words, without a secret.", max_length=200)),
                (
                    "state",
                    models.CharField(
                        blank=True,
                        choices=[("closed", "Closed"), ("open", "Open"), ("half-open", "Half-open")],
                        max_length=16,
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="changes",
                        to="providers.account",
                    ),
                ),
            ],
            options={
                "verbose_name": "line of an account's history",
                "verbose_name_plural": "history of accounts",
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["account_name", "-id"], name="history_by_name")],
            },
        ),
    ]
