"""Messages of many rooms that are stored together, while another program uses one of the rooms."""

import ast

from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS

TALK = """
import asyncio, threading
from django.db import connections, transaction
from chat.models import Draft, Room, astore_message, store_message

rooms = [f"room {number}" for number in range(9)]
drafts = [Draft(room, "1", "ann", "second", "hi") for room in rooms]
for draft in drafts:
    store_message(draft._replace(ref="first"))
locked, done = threading.Event(), threading.Event()

def lock():
    with transaction.atomic():
        Room.objects.select_for_update().get(name=rooms[4])
        locked.set()
        done.wait(60)
    connections.close_all()

async def talk():
    return await asyncio.gather(*map(astore_message, drafts), return_exceptions=True)

threading.Thread(target=lock).start()
locked.wait()
found = asyncio.run(talk())
done.set()
print([type(one).__name__ if isinstance(one, Exception) else one[0].seq for one in found])
"""


def test_locked_room_refuses_no_other(cookies, environment, services):
    """A message in a room that another program locks fails alone, after 5 s. The other rooms' are stored."""
    project = bake(cookies, database="postgresql")
    django = CHOICES["django_version"][0]
    environ = environ_for(environment(PYTHONS[-1], django), **services({"channel_layer": "", "database": "postgresql"}))
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    output = run(["uv", "run", "python", "manage.py", "shell", "--no-imports", "-c", TALK], project, environ)
    assert ast.literal_eval(output) == [2, 2, 2, 2, "OperationalError", 2, 2, 2, 2]
