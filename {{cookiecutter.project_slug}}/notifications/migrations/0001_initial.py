import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import notifications.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Notification",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "text",
                    models.CharField(
                        max_length=500,
                        validators=[
                            django.core.validators.ProhibitNullCharactersValidator(),
                            django.core.validators.RegexValidator("\\S"),
                        ],
                        verbose_name="text",
                    ),
                ),
                (
                    "url",
                    models.CharField(
                        blank=True,
                        max_length=2000,
                        validators=[notifications.models.validate_url],
                        verbose_name="URL",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_index=True, default=django.utils.timezone.now, verbose_name="created at"
                    ),
                ),
                (
                    "read_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="read at"),
                ),
                (
                    "mailed_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="mailed at"),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "notification",
                "verbose_name_plural": "notifications",
                "indexes": [
                    models.Index(fields=["user", "id"], name="notification_user"),
                    models.Index(
                        condition=models.Q(("read_at__isnull", True)),
                        fields=["user"],
                        name="notification_unread",
                    ),
                    models.Index(
                        condition=models.Q(("mailed_at__isnull", True), ("read_at__isnull", True)),
                        fields=["created_at"],
                        name="notification_unmailed",
                    ),
                ],
            },
        ),
    ]
