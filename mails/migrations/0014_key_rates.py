"""How many mails a key may hand in. The database knows the default, so processes of the version before may go on making keys."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mails", "0013_bounds")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="rate",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Mails it may hand in, such as 600/m.",
                max_length=16,
            ),
        ),
    ]
