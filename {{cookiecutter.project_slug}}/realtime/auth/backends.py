"""Sign-in with a password on pages, in the admin and by programs, throttled."""

from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model, load_backend
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from realtime.auth.models import Throttle, of_sign_in
from realtime.protocol import is_storable


class PasswordBackend(ModelBackend):
    """Django's backend, throttled by user name and by address."""

    @sensitive_variables("password")
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> Any:
        name = username or kwargs.get(get_user_model().USERNAME_FIELD)
        if name is None or password is None or not is_storable(name):
            return None
        with Throttle.attempt(of_sign_in(request, name)) as succeed:
            user = super().authenticate(request, name, password)
            if user is not None:
                succeed()
        return user

    async def aauthenticate(self, request: HttpRequest | None, *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(self.authenticate)(request, *args, **kwargs)


def backend_of(user: Any) -> str:
    """Return the first of the AUTHENTICATION_BACKENDS that finds the user in the next request."""
    backends: list[str] = settings.AUTHENTICATION_BACKENDS
    return next(path for path in backends if load_backend(path).get_user(user.pk))
