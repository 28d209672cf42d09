"""Conversations with a language model."""

from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models.signals import {{ "post_delete, " if cookiecutter.auth != "none" }}pre_delete
from django.dispatch import receiver
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from assistant.events import MAX_QUESTION
from realtime.broadcast import group_name, remove_from_group
from realtime.feeds.models import Feed
{% if cookiecutter.auth != "none" %}
from realtime.identity import user_id
{% endif %}
from realtime.work.models import OPEN, Job
from realtime.work.queue import cancel

MAX_TITLE = 80  # characters


class Conversation(models.Model):
    """Questions of one user and their answers.

    `user_id` is the primary key of an account or the id of a guest, and no foreign key.
    """

    user_id = models.CharField(_("user ID"), max_length=64)
    user_name = models.CharField(_("user name"), max_length=150)
    # From the first question.
    title = models.CharField(_("title"), max_length=MAX_TITLE, default="")
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    asked_at = models.DateTimeField(_("last asked at"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        ordering = ("-asked_at",)
        indexes = (models.Index(fields=("user_id", "-asked_at"), name="conversation_user"),)

    def __str__(self) -> str:
        return self.title or gettext("New conversation")

    def get_absolute_url(self) -> str:
        return reverse("conversation", args=[self.pk])

    @property
    def feed(self) -> str:
        """Name of the feed that has the events of the conversation."""
        return group_name("assistant", str(self.pk))

    @classmethod
    def expired(cls) -> models.QuerySet[Self]:
        """Return conversations without a question for ASSISTANT_DAYS, for `manage.py cleanup`."""
        days = settings.ASSISTANT_DAYS
        if not days:
            return cls.objects.none()
        return cls.objects.filter(asked_at__lt=timezone.now() - timedelta(days))


class Turn(models.Model):
    """Question, and its answer as far as it was given. `ref` is the id that the page gave it.

    `job` writes the answer. It is None once the job has expired.
    """

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="turns")
    job = models.OneToOneField(
        Job, models.SET_NULL, null=True, related_name="+", verbose_name=_("job")
    )
    ref = models.CharField(max_length=64)
    question = models.TextField(_("question"), max_length=MAX_QUESTION)
    answer = models.TextField(_("answer"), default="")
    asked_at = models.DateTimeField(_("asked at"), default=timezone.now)

    class Meta:
        verbose_name = _("turn")
        verbose_name_plural = _("turns")
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=("conversation", "ref"), name="turn_once"),)

    def __str__(self) -> str:
        return f"{self.question:.40}"


@receiver(pre_delete, sender=Conversation)
def end_conversation(instance: Conversation, **_: Any) -> None:
    """Stop the answer that is being written, delete the events, and close the sockets."""
    Conversation.objects.select_for_update().filter(pk=instance.pk).first()  # before its answers
    for job in Job.objects.filter(feed=instance.feed, state__in=OPEN):
        cancel(job)
    Feed.objects.filter(name=instance.feed).delete()
    remove_from_group(instance.feed, instance.user_id)
{% if cookiecutter.auth != "none" %}


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def delete_conversations(instance: Any, **_: Any) -> None:
    """Delete the conversations of a deleted user."""
    Conversation.objects.filter(user_id=user_id(instance)).delete()
{% endif %}
