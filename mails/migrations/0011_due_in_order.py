"""The same indexes anew, their statuses in one order: a set has none, and SQLite passed over half of the indexes made so."""

from django.db import migrations, models

DUE = models.Q(("status__in", ("queued", "waiting")))


class Migration(migrations.Migration):
    dependencies = [("mails", "0010_bulk_orders")]

    operations = [
        migrations.RemoveIndex(model_name="mail", name="mail_due"),
        migrations.RemoveIndex(model_name="mail", name="mail_expiring"),
        migrations.RemoveIndex(model_name="mail", name="mail_last_chance"),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(condition=DUE, fields=["lane", "next_attempt_at"], name="mail_due"),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("claims__gte", 2), ("status__in", ("queued", "waiting"))),
                fields=["lane", "next_attempt_at"],
                name="mail_last_chance",
            ),
        ),
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(condition=DUE, fields=["expires_at"], name="mail_expiring"),
        ),
    ]
