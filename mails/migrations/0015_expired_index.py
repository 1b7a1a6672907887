"""The index by which the alert finds mails that expired lately. Partial: a mail that is sent never enters it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mails", "0014_key_rates")]

    operations = [
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(condition=models.Q(("status", "expired")), fields=["finished_at"], name="mail_expired"),
        ),
    ]
