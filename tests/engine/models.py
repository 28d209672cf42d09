"""Journals of numbered entries, which the suite replays, and a user model beside Django's own."""

from datetime import timedelta
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models, transaction
from django.utils import timezone


class Member(AbstractBaseUser):
    """User of the runs with ENGINE_USER_MODEL: a UUID as the key, and another field for the name."""

    key = models.UUIDField(primary_key=True, default=uuid4)
    nickname = models.CharField(max_length=150, unique=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "nickname"
    objects = BaseUserManager()


class Journal(models.Model):
    """A journal and the number of its latest entry."""

    name = models.CharField(max_length=64, unique=True)
    seq = models.PositiveBigIntegerField(default=0)


class Entry(models.Model):
    """An entry. The author's client calls it `ref`."""

    journal = models.ForeignKey(Journal, models.CASCADE, related_name="entries")
    seq = models.PositiveBigIntegerField()
    author = models.CharField(max_length=150)
    ref = models.CharField(max_length=64)
    text = models.TextField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "entries"
        ordering = ("seq",)

    @classmethod
    def expired(cls):
        """Return the entries older than RETENTION_DAYS. Zero keeps all."""
        days = settings.RETENTION_DAYS
        old = cls.objects.filter(at__lt=timezone.now() - timedelta(days=days)) if days else cls.objects.none()
        return old.order_by("at")

    def event(self):
        """Return the entry as clients receive it."""
        return {"type": "entry", "seq": self.seq, "ref": self.ref, "user": self.author, "text": self.text}


def append(journal, author, ref, text):
    """Store an entry. Return it and True, or the stored one and False if the author repeats a `ref`."""
    with transaction.atomic():
        locked, _ = Journal.objects.select_for_update().get_or_create(name=journal)
        if stored := locked.entries.filter(author=author, ref=ref).first():
            return stored, False
        locked.seq += 1
        locked.save()
        return locked.entries.create(seq=locked.seq, author=author, ref=ref, text=text), True
