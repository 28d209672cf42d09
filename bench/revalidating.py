"""Look-ups of the sign-ins of many sockets in the project of DJANGO_SETTINGS_MODULE: prints their cost as JSON.

Run as `revalidating.py SOCKETS SECONDS`. Each socket has a user and a session of its own. `micros` is the CPU time for
one socket, `private` the same if each socket is in a private room, `pause` the longest time in milliseconds that the
event loop was late, `calm` the same without look-ups.
"""

import asyncio
import gc
import json
import secrets
import sys
import time
from datetime import timedelta
from itertools import batched

import django

django.setup()

from chat.access import find_members  # noqa: E402
from chat.models import Member, Room  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402
from realtime.auth.sessions import identity_of_session  # noqa: E402
from realtime.revalidation import BATCH, SPREAD_SECONDS, SignIn, find_ended, revalidate  # noqa: E402


class Connection:
    """Connection of a user, as far as a look-up needs one."""

    conditions = frozenset()

    def __init__(self, sign_in):
        self.sign_in = sign_in


def sign_in(count):
    """Store users with sessions. Return a connection of each."""
    model, session = get_user_model(), SessionStore.get_model_class()
    names = [f"person-{number}" for number in range(count)]
    hashed = f"pbkdf2_sha256$1200000${'s' * 22}$"
    users = (model(username=name, display_name=name, password=hashed + secrets.token_hex(22)) for name in names)
    end = timezone.now() + timedelta(days=14)
    stores = [SessionStore(secrets.token_hex(16)) for _ in names]
    rows = (session(session_key=store.session_key, session_data="x" * 250, expire_date=end) for store in stores)
    session.objects.bulk_create(rows, BATCH)
    pairs = zip(model.objects.bulk_create(users, BATCH), stores, strict=True)
    return [Connection(SignIn(identity_of_session(*pair), pair[1])) for pair in pairs]


def enter(connections):
    """Make the user of each connection a member of a private room of a hundred."""
    rooms = Room.objects.bulk_create(Room(name=f"~room {number}") for number in range(0, len(connections), 100))
    members = (Member(room=rooms[i // 100], user=one.sign_in.identity.user) for i, one in enumerate(connections))
    for connection, member in zip(connections, Member.objects.bulk_create(members, BATCH), strict=True):
        connection.conditions = frozenset([(find_members, member.pk)])


async def longest_pause(work):
    """Return the milliseconds by which the loop was late during the work."""
    late = [0.0]

    async def watch():
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - start - 0.001)

    watching = asyncio.create_task(watch())
    await work
    watching.cancel()
    return max(late) * 1000


async def look(connections, seconds):
    """Look all up again and again, as fast as each beat does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        batches = list(batched(set(connections), BATCH))
        for batch in batches:
            await revalidate(batch)
            await asyncio.sleep(SPREAD_SECONDS / len(batches))


def cpu_micros(connections):
    """Return the CPU time to look all up."""
    start = time.process_time()
    for batch in batched(connections, BATCH):
        assert not find_ended(batch)
    return (time.process_time() - start) * 1e6 / len(connections)


call_command("migrate", verbosity=0)
connections = sign_in(int(sys.argv[1]))
gc.freeze()  # the server's connections are old, too
seconds = float(sys.argv[2])
cpu_micros(connections)
micros = min(cpu_micros(connections) for _ in range(5))
calm = asyncio.run(longest_pause(asyncio.sleep(seconds)))
pause = asyncio.run(longest_pause(look(connections, seconds)))
enter(connections)
private = min(cpu_micros(connections) for _ in range(5))
print(json.dumps({"micros": micros, "private": private, "pause": pause, "calm": calm}))
