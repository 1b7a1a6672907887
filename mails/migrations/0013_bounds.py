"""Which accounts a mail that is sent anew may go through. Nullable without a default: no row is written, on either database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mails", "0012_lane_pauses")]

    operations = [
        migrations.AddField(
            model_name="mail",
            name="bounds",
            field=models.JSONField(
                help_text="The accounts it may go through, where it was sent anew through some.", null=True
            ),
        ),
        migrations.AddField(
            model_name="bulkorder",
            name="how",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Through which accounts, as `How` says it.",
                max_length=80,
            ),
        ),
    ]
