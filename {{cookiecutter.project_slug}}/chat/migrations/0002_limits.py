import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="room",
            name="created_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                default=django.utils.timezone.now,
                editable=False,
            ),
        ),
        migrations.AddField(
            model_name="room",
            name="created_by",
            field=models.CharField(db_default="", default="", editable=False, max_length=150),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(fields=["at"], name="message_at"),
        ),
        migrations.AddIndex(
            model_name="room",
            index=models.Index(fields=["created_by", "created_at"], name="room_creator"),
        ),
    ]
