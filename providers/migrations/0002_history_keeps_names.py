import django.db.models.deletion
from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def fill(apps, schema_editor):
    account = apps.get_model("providers", "Account")
    names = account.objects.filter(pk=OuterRef("account_id")).values("name")[:1]
    apps.get_model("providers", "BreakerChange").objects.update(account_name=Subquery(names))


class Migration(migrations.Migration):
    atomic = True

    dependencies = [("providers", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="breakerchange",
            name="account_name",
            field=models.CharField(default="", max_length=64),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
        migrations.AlterField(
            model_name="breakerchange",
            name="account_name",
            field=models.CharField(db_default="", help_text="Its name, also after it was deleted.", max_length=64),
        ),
        migrations.AlterField(
            model_name="breakerchange",
            name="account",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="changes",
                to="providers.account",
            ),
        ),
        migrations.AddIndex(
            model_name="breakerchange",
            index=models.Index(fields=["account_name", "-id"], name="history_by_name"),
        ),
        migrations.AlterModelOptions(
            name="breakerchange",
            options={
                "ordering": ("-id",),
                "verbose_name": "line of an account's history",
                "verbose_name_plural": "history of accounts",
            },
        ),
    ]
