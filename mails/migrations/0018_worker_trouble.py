"""A worker says what its machine lacked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mails", "0017_suspects"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="trouble",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="What its machine lacked in the last minute.",
                max_length=200,
            ),
        ),
    ]
