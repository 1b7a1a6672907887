"""Columns and tables named by the field's terms."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mails", "0021_pause"),
    ]

    operations = [
        migrations.RenameField("mail", "wish", "pending_action"),
        migrations.RenameField("mail", "doubtful", "possible_duplicate"),
        migrations.RenameIndex("mail", new_name="mail_quarantined", old_name="mail_last_chance"),
        migrations.RenameField("bulkorder", "wished", "requested"),
        migrations.RenameField("worker", "places", "concurrency"),
        migrations.RenameField("worker", "drained_at", "polled_at"),
        migrations.RenameModel("Duty", "PeriodicTask"),
        migrations.RenameField("periodictask", "holder", "leader"),
        migrations.AlterModelOptions("periodictask", options={}),
        migrations.AlterField(
            "mail", "lease", models.UUIDField(help_text="Token of the dispatcher that holds it.", null=True)
        ),
        migrations.AlterField(
            "recipient",
            "state",
            models.CharField(
                choices=[
                    ("pending", "Not resolved yet"),
                    ("accepted", "Taken by a provider"),
                    ("refused", "Refused for good"),
                ],
                default="pending",
                max_length=16,
            ),
        ),
    ]
