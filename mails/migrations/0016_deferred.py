"""An email that waits is called deferred."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mails", "0015_expired_index"),
    ]

    operations = [
        migrations.AlterField(
            model_name="mail",
            name="status",
            field=models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("sending", "Sending"),
                    ("waiting", "Deferred"),
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
    ]
