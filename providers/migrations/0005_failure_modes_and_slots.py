"""Names of the glossary: failure modes of sandboxes; a breaker's slots and failures."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("providers", "0004_refusal_runs")]

    operations = [
        migrations.RenameModel("SandboxFault", "FailureMode"),
        migrations.AlterField(
            model_name="failuremode",
            name="account",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE,
                primary_key=True,
                related_name="failure_mode",
                serialize=False,
                to="providers.account",
            ),
        ),
        migrations.RenameField("breaker", "places", "slots"),
        migrations.RenameField("breaker", "window_faults", "window_failures"),
    ]
