from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("realtime_work", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="language",
            field=models.CharField(
                db_default="", default="", max_length=35, verbose_name="language"
            ),
        ),
    ]
