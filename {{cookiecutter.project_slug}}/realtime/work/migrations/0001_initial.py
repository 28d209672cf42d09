import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=200)),
                ("arguments", models.JSONField(default=dict)),
                ("user_id", models.CharField(default="", max_length=64)),
                ("user_name", models.CharField(default="", max_length=150)),
                ("feed", models.CharField(default="", max_length=100)),
                ("key", models.CharField(default="", max_length=100)),
                ("once", models.BooleanField(default=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="waiting",
                        max_length=9,
                    ),
                ),
                ("progress", models.FloatField(default=0)),
                ("steps", models.PositiveIntegerField(default=0)),
                ("resume", models.JSONField(default=dict)),
                ("result", models.JSONField(null=True)),
                ("reason", models.CharField(default="", max_length=500)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("retries", models.PositiveSmallIntegerField(default=0)),
                ("lease", models.CharField(default="", max_length=32)),
                ("locked_until", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(db_index=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["state", "id"], name="job_state"),
                    models.Index(fields=["user_id", "created_at"], name="job_user"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("once", True), ("state__in", ("waiting", "running"))),
                        fields=("user_id", "kind"),
                        name="job_once",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("key", ""), _negated=True),
                        fields=("user_id", "kind", "key"),
                        name="job_key_once",
                    ),
                ],
            },
        ),
    ]
