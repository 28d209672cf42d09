"""Clients of the suite's ASGI application in this process."""

from asgiref.sync import sync_to_async

from engine.asgi import application
from engine.people import cookies_of
from realtime.testing import SocketClient


class Visitor(SocketClient):
    """A client that knows presence, and may stop reading."""

    @classmethod
    async def arrive(cls, path, name="ann", **options):
        """Connect as the user of that name, or without a sign-in if the name is None."""
        cookies = await sync_to_async(cookies_of)(name) if name else None
        return await cls.connect(application, path, **{"cookies": cookies, **options})

    async def sees(self, *names):
        """Wait until exactly these users are present. Return whether the event is whole."""
        users = None
        while users is None or [user["user"] for user in users] != sorted(names):
            event = await self.receive(presence=True)
            users = event.get("users")
        listed = [{"user": name, "user_id": user["user_id"]} for name, user in zip(sorted(names), users, strict=True)]
        return event == {"type": "presence", "users": listed, "count": len(names)}

    def limit_unread(self, count):
        """Make the server wait once this many messages are unread. Zero removes the limit."""
        self.communicator.output_queue._maxsize = count
