"""Settings of the sites that tests talk to: the project's, but for passwords that take a second of a core to hash."""

from config import settings
from config.settings import *  # noqa: F403

MD5 = "django.contrib.auth.hashers.MD5PasswordHasher"
PASSWORD_HASHERS = [MD5, *getattr(settings, "PASSWORD_HASHERS", [])]
