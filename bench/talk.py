"""Messages in the rooms of the project of DJANGO_SETTINGS_MODULE.

Run as `talk.py ROOMS MESSAGES LAST` in an environment where the project can be imported. LAST is the text of the last
message in each room.
"""

import sys

import django

django.setup()

from chat.models import Draft, store_messages  # noqa: E402

TEXT = "what people write to each other"

rooms, messages = map(int, sys.argv[1:3])
texts = [*[TEXT] * (messages - 1), sys.argv[3]]
for room in range(rooms):
    store_messages([Draft(f"room{room}", "1", "person-0", str(number), text) for number, text in enumerate(texts)])
