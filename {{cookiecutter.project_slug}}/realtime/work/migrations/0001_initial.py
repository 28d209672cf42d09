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
                ("kind", models.CharField(max_length=200, verbose_name="task")),
                ("arguments", models.JSONField(default=dict, verbose_name="arguments")),
                ("user_id", models.CharField(default="", max_length=64, verbose_name="user ID")),
                (
                    "user_name",
                    models.CharField(default="", max_length=150, verbose_name="user name"),
                ),
                ("feed", models.CharField(default="", max_length=100, verbose_name="feed")),
                ("key", models.CharField(default="", max_length=100, verbose_name="key")),
                ("once", models.BooleanField(default=False, verbose_name="one at a time")),
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
                        verbose_name="state",
                    ),
                ),
                ("progress", models.FloatField(default=0, verbose_name="progress")),
                ("steps", models.PositiveIntegerField(default=0, verbose_name="steps")),
                ("resume", models.JSONField(default=dict, verbose_name="resume from")),
                ("result", models.JSONField(null=True, verbose_name="result")),
                ("reason", models.CharField(default="", max_length=500, verbose_name="reason")),
                ("attempts", models.PositiveSmallIntegerField(default=0, verbose_name="attempts")),
                ("retries", models.PositiveSmallIntegerField(default=0, verbose_name="retries")),
                ("lease", models.CharField(default="", max_length=32, verbose_name="lease")),
                ("locked_until", models.DateTimeField(null=True, verbose_name="locked until")),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="created at"
                    ),
                ),
                ("started_at", models.DateTimeField(null=True, verbose_name="started at")),
                (
                    "ended_at",
                    models.DateTimeField(db_index=True, null=True, verbose_name="ended at"),
                ),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
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
