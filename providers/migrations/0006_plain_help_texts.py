"""Help texts in plain words."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0005_failure_modes_and_slots"),
    ]

    operations = [
        migrations.AlterField(
            model_name="account",
            name="rate",
            field=models.FloatField(blank=True, help_text="Requests per second; empty = no limit.", null=True),
        ),
        migrations.AlterField(
            model_name="account",
            name="trust_500",
            field=models.BooleanField(
                default=False,
                help_text="On HTTP 500: treat the email as not sent.",
                verbose_name="treat HTTP 500 as not sent",
            ),
        ),
        migrations.AlterField(
            model_name="account",
            name="weight",
            field=models.PositiveSmallIntegerField(default=1, help_text="Relative share of traffic (0 = none)."),
        ),
        migrations.AlterField(
            model_name="breaker",
            name="call_limit",
            field=models.PositiveIntegerField(
                help_text="Concurrent calls of one process, learned from refusals; null = no refusal yet.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="breaker",
            name="call_limit_until",
            field=models.DateTimeField(help_text="The learned limit is not raised before this time.", null=True),
        ),
        migrations.AlterField(
            model_name="breaker",
            name="probe_until",
            field=models.DateTimeField(help_text="Lease of the one probe in progress.", null=True),
        ),
        migrations.AlterField(
            model_name="breaker",
            name="slots",
            field=models.PositiveIntegerField(
                help_text="Concurrent calls while recovering; null = no limit.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="breakerchange",
            name="account_name",
            field=models.CharField(
                db_default="", help_text="The account's name, also after it was deleted.", max_length=64
            ),
        ),
    ]
