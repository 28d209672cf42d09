"""Client that follows the chat's protocol during faults, and checks that the server follows it too."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from urllib.parse import quote
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

LOST = 1006  # the connection ended without a close frame
RECONNECT = {LOST, 1001, 1011, 1012, 4012, 4408}
ACKNOWLEDGEMENT = 3  # seconds until a message is sent again
PAGE = 500
HEALING = 15  # seconds until all members have all messages, once nothing fails


def open_room(site, room, query="", **options):
    """Connect to a room as a page of the site does."""
    url = f"{site.url.replace('http', 'ws', 1)}/ws/chat/{quote(room, safe='')}/{query}"
    defaults = {"origin": site.url, "proxy": None, "compression": None, "close_timeout": 1, "ssl": site.tls}
    return connect(url, **(defaults | options))


async def wait_for(condition, what, patience):
    """Wait until `condition()` is true. Fails with `what()` after too long."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience} s: {what()}"
        await asyncio.sleep(0.05)


class Client:
    """Client of one user in one room: reconnects, resumes, sends again, and fetches gaps from the history."""

    def __init__(self, person, room, messages=()):
        self.person = person
        self.room = room
        self.messages = list(messages)  # from number 1, without a gap
        self.sent = Counter()  # count by reference
        self.acknowledged = {}  # number by reference
        self.socket = None  # set while it is open and welcomed
        self.connections = 0
        self.errors = Counter()
        self.news = asyncio.Event()  # set when a message may have to be sent again

    def __str__(self):
        return f"{self.room} after {self.last}"

    @property
    def last(self):
        return len(self.messages)

    async def listen(self):
        """Stay connected, with reconnects, until cancelled. Fails if the server breaks the protocol."""
        while True:
            try:
                await self.visit()
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else LOST
                assert code in RECONNECT, f"closed with {code}"
            except InvalidStatus as refused:
                assert refused.response.status_code >= 500, refused
            except (OSError, InvalidHandshake, httpx.TransportError):
                pass  # the server is down
            finally:
                self.socket = None
            await asyncio.sleep(random.uniform(0.1, 1))

    async def visit(self):
        """Run one connection. Raise ConnectionClosed at its end."""
        headers = self.person.headers()
        async with open_room(self.person.site, self.room, f"?after={self.last}", additional_headers=headers) as socket:
            while True:
                event = json.loads(await socket.recv())
                match event["type"]:
                    case "welcome":
                        assert event["seq"] >= self.last, f"{event} forgets some of {self.last} messages"
                        self.socket = socket
                        self.connections += 1
                        self.news.set()
                    case "message":
                        self.take(event)
                    case "gap":
                        assert event["after"] == self.last, event
                        await self.fetch(event["before"])
                    case "error":
                        assert event["code"] in {"rate_limited", "unavailable"}, event
                        self.errors[event["code"]] += 1

    def take(self, message):
        """Store the next message. Only the answer to a message sent again may come out of turn."""
        seq, ref = message["seq"], message["ref"]
        if seq == self.last + 1:
            self.messages.append(message)
        else:
            assert self.sent[ref] > 1, f"{message} came after {self.last}"
            assert seq > self.last or message == self.messages[seq - 1], f"{message} was another before"
        if ref in self.sent:
            assert self.acknowledged.setdefault(ref, seq) == seq, f"{message} had the number {self.acknowledged[ref]}"
            self.news.set()

    async def fetch(self, before):
        """Read the messages before a number from the history."""
        while self.last + 1 < before:
            query = f"?after={self.last}&limit={PAGE}"
            page = await asyncio.to_thread(self.person.history, self.room, query)
            assert page["messages"], f"nothing is stored after {self.last}, and a gap before {before}"
            for message in page["messages"][: before - self.last - 1]:
                self.take(message)

    async def speak(self, going_on):
        """Send some messages per second while `going_on()`."""
        while going_on():
            ref = uuid4().hex
            await self.say(ref, ref)
            await asyncio.sleep(random.uniform(0.2, 0.5))

    async def say(self, ref, text):
        """Send a message until it is acknowledged, again on each new connection and if the answer is late."""
        while ref not in self.acknowledged:
            self.news.clear()
            if self.socket:
                self.sent[ref] += 1
                with contextlib.suppress(ConnectionClosed):
                    await self.socket.send(json.dumps({"type": "send", "ref": ref, "text": text}))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), ACKNOWLEDGEMENT)


async def happen(fault, moments):
    """Cause a fault at each of these seconds."""
    start = time.monotonic()
    for moment in moments:
        await asyncio.sleep(start + moment - time.monotonic())
        await asyncio.to_thread(fault)


async def all_connected(clients):
    """Wait until all clients are connected at the same time."""
    await wait_for(lambda: all(client.socket for client in clients), lambda: "a connection for everybody", 30)


async def settle(*groups):
    """Wait until all clients have the stored messages, without a new connection. Return them by room."""
    clients = [client for group in groups for client in group]
    await all_connected(clients)
    connections = [client.connections for client in clients]
    stored = {client.room: await everything(client) for client in clients}
    for messages in stored.values():
        assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))

    def behind():
        return [client for client in clients if client.messages != stored[client.room]]

    await wait_for(lambda: not behind(), lambda: f"the end of {Counter(map(str, behind()))}", HEALING)
    assert connections == [client.connections for client in clients]
    return stored


async def everything(client):
    """Return the whole history of a client's room."""
    reader = Client(client.person, client.room)
    page = {"more": True}
    while page["more"]:
        page = await asyncio.to_thread(reader.person.history, reader.room, f"?after={reader.last}")
        reader.messages += page["messages"]
    return reader.messages


def check_everything(clients, stored):
    """Check that each sent message is stored once, with the number that its sender got. Return the references."""
    references = Counter(message["ref"] for messages in stored.values() for message in messages)
    assert references == Counter(ref for client in clients for ref in client.acknowledged)
    for client in clients:
        numbers = {message["ref"]: message["seq"] for message in stored[client.room]}
        assert client.acknowledged == {ref: numbers[ref] for ref in client.sent}
    return references
