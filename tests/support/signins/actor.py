"""A process that reads commands as JSON from its input, and prints their results: `python -m signins.actor`."""

import io
import json
import os
import sys
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from chat.models import create_private_room  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402
from signins.consumers import KEYS  # noqa: E402

User = get_user_model()


def make(name, password):
    """Create a user with a session. Return the primary key, the cookie's name and the session's key."""
    user = User.objects.create_user(name, f"{name}@example.com", password, is_staff=True)
    if name == "admin":
        User.objects.filter(pk=user.pk).update(is_superuser=True)
    client = Client()
    client.force_login(user)
    KEYS.mkdir(exist_ok=True)
    (KEYS / str(user.pk)).touch()
    return user.pk, settings.SESSION_COOKIE_NAME, client.session.session_key


def delete_session(pk, key):
    Session.objects.get(session_key=key).delete()


def delete_sessions(pk, key):
    Session.objects.filter(session_key=key).delete()


def delete_session_by_sql(pk, key):
    execute("DELETE FROM django_session WHERE session_key = %s", key)


def expire_session(pk, key):
    Session.objects.filter(session_key=key).update(expire_date=timezone.now() - timedelta(seconds=1))


def clear_sessions(pk, key):
    expire_session(pk, key)
    call_command("clearsessions")


def run_cleanup(pk, key):
    expire_session(pk, key)
    call_command("cleanup", stdout=io.StringIO())


def save_password(pk, key):
    user = User.objects.get(pk=pk)
    user.set_password("another")
    user.save()


def update_password(pk, key):
    User.objects.filter(pk=pk).update(password="another")


def update_password_by_sql(pk, key):
    execute(f"UPDATE {User._meta.db_table} SET password = 'another' WHERE id = %s", pk)


def deactivate_and_rename(pk, key):
    user = User.objects.get(pk=pk)
    user.username, user.display_name, user.is_active = f"{user.username}-renamed", "Renamed", False
    user.save()


def update_is_active(pk, key):
    User.objects.filter(pk=pk).update(is_active=False)


def deactivate_by_sql(pk, key):
    execute(f"UPDATE {User._meta.db_table} SET is_active = %s WHERE id = %s", False, pk)


def delete_user(pk, key):
    User.objects.get(pk=pk).delete()


def delete_user_by_sql(pk, key):
    execute(f"DELETE FROM {User._meta.db_table} WHERE id = %s", pk)


def delete_key(pk, key):
    (KEYS / str(pk)).unlink()


def create_room(name, owner, member):
    room = create_private_room(name, User.objects.get(pk=owner))
    room.members.create(user_id=member)


def remove_member_by_sql(pk, room):
    rooms = "SELECT id FROM chat_room WHERE name = %s"
    execute(f"DELETE FROM chat_member WHERE user_id = %s AND room_id IN ({rooms})", pk, room)


def execute(query, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)


for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(globals()[name](*arguments)), flush=True)
