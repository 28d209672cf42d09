from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import {{ "revocation, signals" if cookiecutter.auth == "token" else "signals" }}  # noqa: F401
