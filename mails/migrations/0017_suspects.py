"""An email is handed over apart from others after the first worker that died with it, not after the second."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mails", "0016_deferred"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="mail",
            name="mail_last_chance",
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("claims__gte", 1), ("status__in", ("queued", "waiting"))),
                fields=["lane", "next_attempt_at"],
                name="mail_last_chance",
            ),
        ),
    ]
