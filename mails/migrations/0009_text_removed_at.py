"""When retention removed the text of a mail."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A column that is empty for each mail there is: no table is written anew."""

    dependencies = [("mails", "0008_event_months")]
    operations = [
        migrations.AddField(
            "mail",
            "text_removed_at",
            models.DateTimeField(null=True, editable=False, help_text="When retention removed its text."),
        )
    ]
