"""Pages, lists and answers stay small for any number of rooms and messages."""

import json

import pytest
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS

pytestmark = pytest.mark.xdist_group("volume")  # share the rooms

ROOMS = 100_000
PAGE_BYTES = 100_000
PAGE_QUERIES = 12

# A name of maximal length: 64 characters of four bytes, each of which takes twelve in a URL.
FILL = f"""
from chat.models import Message, Room
from django.contrib.auth import get_user_model
names = ("%06d" % number + "\\U0001f44b" * 58 for number in range({ROOMS}))
Room.objects.bulk_create((Room(name=name, seq=3) for name in names), batch_size=5000)
rooms = Room.objects.order_by("name")
Message.objects.bulk_create(
    (Message(room=room, seq=seq, user_name="ann", ref=str(seq), text="hi") for room in rooms for seq in (2, 3)),
    batch_size=5000,
)
get_user_model().objects.create_superuser("boss")
"""

# Size and queries of each page for a member of staff.
GET = """
import json
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from chat.models import Message, Room

client, measured = Client(headers={"host": "127.0.0.1"}), {}
client.force_login(get_user_model().objects.get(username="boss"))
middle = Room.objects.all()[50_000]
for path in PATHS:
    path = path.replace("MIDDLE", middle.name).replace("ROOM", str(middle.pk))
    path = path.replace("MESSAGE", str(middle.messages.latest("seq").pk))
    with CaptureQueriesContext(connection) as queries:
        response = client.get(path)
    plans = []
    for query in [query["sql"] for query in queries if "chat_" in query["sql"] and "COUNT" not in query["sql"]]:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + query.replace("%", "%%"), [])
            plans += [row[3] for row in cursor.fetchall()]
    measured[path] = response.status_code, len(response.content), len(queries), plans
print("\\n" + json.dumps(measured))
"""

PATHS = {
    "rooms": "/",
    "next rooms": "/?after=MIDDLE",
    "previous rooms": "/?before=MIDDLE",
    "rooms found": "/?q=0999",
    "no room found": "/?q=nothing",
    "admin": "/admin/",
    "admin's rooms": "/admin/chat/room/",
    "admin's rooms found": "/admin/chat/room/?q=0999",
    "admin's last rooms": "/admin/chat/room/?p=1000",
    "admin's room": "/admin/chat/room/ROOM/change/",
    "admin's messages": "/admin/chat/message/",
    "admin's messages of a room": "/admin/chat/message/?room__id__exact=ROOM",
    "admin's message": "/admin/chat/message/MESSAGE/change/",
    "admin's rooms by name": "/admin/autocomplete/?app_label=chat&model_name=message&field_name=room&term=0999",
}


@pytest.fixture(scope="module")
def measured(cookies_session, environment):
    """Measure each page of a site with this many rooms: its size and its queries."""
    project = bake(cookies_session)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    shell = ["uv", "run", "python", "manage.py", "shell", "--no-imports", "-c"]
    run([*shell[:4], "migrate", "--verbosity", "0"], project, environ)
    run([*shell, FILL], project, environ)
    output = run([*shell, f"PATHS = {list(PATHS.values())}\n{GET}"], project, environ)
    return dict(zip(PATHS, json.loads(output.splitlines()[-1]).values(), strict=True))


@pytest.mark.parametrize("page", PATHS)
def test_page_does_not_grow_with_rooms(page, measured):
    """Each page of a site with 100,000 rooms is small and takes a few queries."""
    status, size, queries, _ = measured[page]
    assert (status, size < PAGE_BYTES, queries <= PAGE_QUERIES) == (200, True, True), (status, size, queries)


@pytest.mark.parametrize("page", PATHS)
def test_page_sorts_nothing(page, measured):
    """The database finds the first row by an index, and reads no more rows than the page shows."""
    plans = measured[page][3]
    assert [step for step in plans if "TEMP B-TREE" in step] == []
