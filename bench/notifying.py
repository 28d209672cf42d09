"""Notifications in the project of DJANGO_SETTINGS_MODULE: prints the cost of many by one call as JSON.

Run as `notifying.py COUNT RATE MANY`. Notifies the users that have a session, one after the other and RATE times per
second, of the time. Then notifies MANY new users of ten things each by one call, which takes `seconds` and `queries`.
"""

import json
import sys
import time
from itertools import cycle, islice

import django

django.setup()

from accounts.models import User  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from notifications.notify import notify, notify_many  # noqa: E402

TEN = 10

count, rate, many = map(int, sys.argv[1:])
for user in islice(cycle(list(User.objects.filter(username__startswith="person-"))), count):
    notify(user, str(time.time()))
    time.sleep(1 / rate)

users = User.objects.bulk_create(User(username=name, display_name=name) for name in map("many-{}".format, range(many)))
started = time.monotonic()
with CaptureQueriesContext(connection) as queries:
    sent = notify_many(users * TEN, "Done")
print(json.dumps({"sent": len(sent), "seconds": time.monotonic() - started, "queries": len(queries)}))
