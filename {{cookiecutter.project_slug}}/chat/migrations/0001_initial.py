import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import chat.names


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Room",
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
                        validators=[chat.names.validate_name],
                        verbose_name="name",
                    ),
                ),
                ("seq", models.PositiveBigIntegerField(default=0, verbose_name="latest number")),
                (
                    "created_by",
                    models.CharField(
                        default="", editable=False, max_length=64, verbose_name="creator ID"
                    ),
                ),
                (
                    "created_by_name",
                    models.CharField(
                        default="", editable=False, max_length=150, verbose_name="creator name"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, verbose_name="created at"
                    ),
                ),
            ],
            options={
                "verbose_name": "room",
                "verbose_name_plural": "rooms",
                "ordering": ("name",),
                "indexes": [models.Index(fields=["created_by", "created_at"], name="room_creator")],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("seq", models.PositiveBigIntegerField(verbose_name="number")),
                ("user_id", models.CharField(max_length=64, verbose_name="user ID")),
                ("user_name", models.CharField(max_length=150, verbose_name="user name")),
                ("ref", models.CharField(max_length=64, verbose_name="reference")),
                ("text", models.TextField(max_length=4000, verbose_name="text")),
                (
                    "at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="sent at"),
                ),
                ("edited_at", models.DateTimeField(editable=False, null=True)),
                (
                    "room",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="chat.room",
                        verbose_name="room",
                    ),
                ),
            ],
            options={
                "verbose_name": "message",
                "verbose_name_plural": "messages",
                "ordering": ("seq",),
                "indexes": [
                    models.Index(fields=["at"], name="message_at"),
                    models.Index(
                        condition=models.Q(("edited_at__isnull", False)),
                        fields=["room", "-edited_at"],
                        name="message_edited_at",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("room", "seq"), name="message_seq_once"),
                    models.UniqueConstraint(
                        fields=("room", "user_id", "ref"), name="message_ref_once"
                    ),
                ],
            },
        ),
    ]
