from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")
{% if cookiecutter.auth == "token" %}

    def ready(self) -> None:
        from accounts import revocation  # noqa: F401
{% endif %}
