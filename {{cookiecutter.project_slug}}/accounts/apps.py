from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
{% if cookiecutter.auth == "token" %}
        # `revocation` comes first: tickets are deleted before sockets are disconnected.
{% endif %}
        from accounts import {{ "revocation, signals" if cookiecutter.auth == "token" else "signals" }}  # noqa: F401
