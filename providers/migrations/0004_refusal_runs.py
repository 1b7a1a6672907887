"""Refusals of an account in a row."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0003_call_limit"),
    ]

    operations = [
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
                    models.DateTimeField(
                        help_text="Beginning of the last spell in which it refused everything.", null=True
                    ),
                ),
                (
                    "noticed_at",
                    models.DateTimeField(help_text="From then on its refusals counted as its own …", null=True),
                ),
                ("ended_at", models.DateTimeField(help_text="… until it accepted something again.", null=True)),
                ("reason", models.CharField(blank=True, max_length=200)),
            ],
        ),
    ]
