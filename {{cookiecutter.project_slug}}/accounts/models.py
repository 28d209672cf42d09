"""Accounts{{ ", and the tokens and tickets of programs and pages" if cookiecutter.auth == "token" }}."""

from typing import {{ "Any, Self" if cookiecutter.auth == "token" else "Any" }}

{% if cookiecutter.auth == "token" %}
from django.conf import settings
{% endif %}
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
{% if cookiecutter.auth == "token" %}
from django.utils import timezone
from django.utils.crypto import constant_time_compare
{% endif %}
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from realtime.auth.names import look_of, validate_name


class User(AbstractUser):
    """Account of a person or program. Others see the display name, never the user name."""

    display_name = models.CharField(
        _("display name"),
        max_length=150,
        blank=True,
        help_text=_("Shown to everybody. Default: the user name."),
    )
    look = models.CharField(max_length=150, db_index=True, editable=False)  # of the display name

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"
        # An empty display name would be shown as the user name, which may be an e-mail address.
        constraints = (
            models.CheckConstraint(condition=~models.Q(display_name=""), name="user_display_name"),
        )

    def clean(self) -> None:
        super().clean()
        # A form has no user name here if another account has it.
        self.display_name = self.display_name or self.username or ""
        for name in filter(None, (self.username, self.display_name)):
            validate_name(name)
        look = look_of(self.display_name)[:150]
        others = type(self)._default_manager.exclude(pk=self.pk)
        if look != self.look and others.filter(look=look).exists():
            raise ValidationError(
                gettext("Another user has this display name, or one that looks like it.")
            )

    def validate_constraints(self, exclude: Any = None) -> None:
        # Without a valid user name, which is an error of its own, the display name has no default.
        super().validate_constraints({*(exclude or ()), "display_name"})

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.display_name = self.display_name or self.username
        self.look = look_of(self.display_name)[:150]
        super().save(*args, **kwargs)
{% if cookiecutter.auth == "token" %}


class Secret(models.Model):
    """Text that signs in its user, until it expires or the password changes.

    Only a digest is stored.
    """

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="%(class)ss",
        verbose_name=_("user"),
    )
    stamp = models.CharField(max_length=128)  # of the user's password when it was issued
    expires_at = models.DateTimeField(_("expires at"), db_index=True)

    class Meta:
        abstract = True

    def is_valid(self) -> bool:
        """Return whether the secret is current, and its user active with the same password."""
        stamps = (
            self.user.get_session_auth_hash(),
            *self.user.get_session_auth_fallback_hash(),  # after a change of SECRET_KEY
        )
        return (
            self.user.is_active
            and self.expires_at > timezone.now()
            and any(constant_time_compare(self.stamp, stamp) for stamp in stamps)
        )

    @classmethod
    def expired(cls) -> models.QuerySet[Self]:
        """Return those that have expired, for `manage.py cleanup` to delete."""
        return cls._default_manager.filter(expires_at__lte=timezone.now())


class Token(Secret):
    """Access of a program, for `TOKEN_DAYS`."""

    name = models.CharField(
        _("name"), max_length=100, help_text=_("What uses it, such as a device.")
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True)

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")

    def __str__(self) -> str:
        return f"{self.name} ({self.user})"


class Ticket(Secret):
    """Access for one socket, once, of the token or session that it was issued to."""

    token = models.ForeignKey(Token, models.CASCADE, null=True, blank=True)
    session_key = models.CharField(max_length=40, blank=True)

    class Meta:
        verbose_name = _("ticket")
        verbose_name_plural = _("tickets")

    def __str__(self) -> str:
        return f"{self.user} ({self.expires_at:%H:%M:%S})"
{% endif %}
