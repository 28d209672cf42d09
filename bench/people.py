"""Sign-in of test users in the project of DJANGO_SETTINGS_MODULE: prints their cookies.

Run as `people.py N` in an environment where the project can be imported.
"""

import sys
from importlib import import_module

import django
from django.conf import settings

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


def sign_in(number: int) -> str:
    """Return the cookie of a new user, with the session that Django's login would create."""
    user = get_user_model()(username=f"person-{number}")
    user.set_unusable_password()
    user.save()
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


call_command("migrate", verbosity=0)
with transaction.atomic():
    for number in range(int(sys.argv[1])):
        print(sign_in(number))
