"""A drain finds, plans and records in one transaction, so no mail is ever seen claimed but not yet handed over."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.functions import Now


def queue_again(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Mails that a worker of the former version had claimed: no provider was called."""
    mails = apps.get_model("mails", "Mail").objects.using(schema_editor.connection.alias)
    mails.filter(status="claimed").update(
        status="queued", next_attempt_at=Now(), lease=None, lease_expires_at=None, worker=""
    )


class Migration(migrations.Migration):
    dependencies = [
        ("mails", "0005_leaner_indexes"),
    ]

    atomic = False  # PostgreSQL does not alter a table in the transaction that has changed its rows

    operations = [
        migrations.RunPython(queue_again, migrations.RunPython.noop),
        migrations.RemoveConstraint(
            model_name="mail",
            name="mail_status_known",
        ),
        migrations.RemoveConstraint(
            model_name="mail",
            name="mail_lease_iff_in_hand",
        ),
        migrations.RemoveIndex(
            model_name="mail",
            name="mail_leased",
        ),
        migrations.AlterField(
            model_name="mail",
            name="claims",
            field=models.PositiveSmallIntegerField(default=0, help_text="Calls begun since one was last closed."),
        ),
        migrations.AlterField(
            model_name="mail",
            name="status",
            field=models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("sending", "Sending"),
                    ("waiting", "Waiting to retry"),
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
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(
                condition=models.Q(("status__in", frozenset(["sending"]))),
                fields=["lease_expires_at"],
                name="mail_leased",
            ),
        ),
        migrations.AddConstraint(
            model_name="mail",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            "queued",
                            "sending",
                            "waiting",
                            "held",
                            "done",
                            "discarded",
                            "expired",
                            "cancelled",
                            "rejected",
                        ],
                    )
                ),
                name="mail_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="mail",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lease__isnull", False), ("status__in", frozenset(["sending"]))),
                    models.Q(models.Q(("status__in", frozenset(["sending"])), _negated=True), ("lease__isnull", True)),
                    _connector="OR",
                ),
                name="mail_lease_iff_in_hand",
            ),
        ),
    ]
