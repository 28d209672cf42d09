import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Device",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator("^[A-Za-z0-9_-]{1,64}\\Z")
                        ],
                        verbose_name="name",
                    ),
                ),
                (
                    "is_online",
                    models.BooleanField(default=False, editable=False, verbose_name="online"),
                ),
                (
                    "seen_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="last seen at"),
                ),
                ("value", models.FloatField(editable=False, null=True, verbose_name="value")),
                ("number", models.PositiveBigIntegerField(default=0, editable=False)),
            ],
            options={
                "verbose_name": "device",
                "verbose_name_plural": "devices",
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Command",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", models.CharField(max_length=1000, verbose_name="text")),
                ("user_name", models.CharField(max_length=150, verbose_name="user name")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("delivered", "Delivered"),
                            ("answered", "Answered"),
                        ],
                        default="waiting",
                        max_length=9,
                        verbose_name="state",
                    ),
                ),
                ("answer", models.CharField(default="", max_length=1000, verbose_name="answer")),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="created at"
                    ),
                ),
                ("sent_at", models.DateTimeField(null=True, verbose_name="sent at")),
                (
                    "device",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="commands",
                        to="devices.device",
                        verbose_name="device",
                    ),
                ),
            ],
            options={
                "verbose_name": "command",
                "verbose_name_plural": "commands",
                "indexes": [
                    models.Index(fields=["device", "id"], name="command_device"),
                    models.Index(
                        condition=models.Q(("state", "waiting")),
                        fields=["id"],
                        name="command_waiting",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Reading",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveBigIntegerField()),
                ("seq", models.PositiveBigIntegerField()),
                ("value", models.FloatField()),
                ("at", models.DateTimeField()),
                (
                    "stored_at",
                    models.DateTimeField(db_index=True, default=django.utils.timezone.now),
                ),
                (
                    "device",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="readings",
                        to="devices.device",
                    ),
                ),
            ],
            options={
                "verbose_name": "reading",
                "verbose_name_plural": "readings",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("device", "number"), name="reading_number_once"
                    ),
                    models.UniqueConstraint(fields=("device", "seq"), name="reading_seq_once"),
                ],
            },
        ),
    ]
