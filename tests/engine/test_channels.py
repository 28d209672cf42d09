"""Conventions of Channels that hold for consumers of the engine, and for others beside them."""

import asyncio
import json
import logging

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.auth import AuthMiddlewareStack, get_user, login, logout
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.testing import ChannelsLiveServerTestCase, WebsocketCommunicator
from channels.worker import Worker
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.management import get_commands
from django.db import connections
from django.test import Client, TestCase, TransactionTestCase, override_settings
from django.urls import path
from websockets.sync.client import connect as connect_websocket

from realtime.asgi import RealtimeMiddlewareStack
from realtime.bodies import BodyLimit
from realtime.broadcast import apublish, publish
from realtime.consumers import RealtimeConsumer, SyncRealtimeConsumer
from realtime.process import get_process
from realtime.protocol import EventError
from realtime.proxy import TrustedProxies
from realtime.testing import SocketClient

NEWS = "news"
EVENT = {"type": "news", "text": "hi"}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def environment(settings):
    """Use the layer in memory, and know visitors by Django's sessions, or as guests."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.REALTIME_AUTHENTICATORS = [
        "realtime.auth.sessions.authenticate",
        "realtime.auth.guests.authenticate",
    ]


@pytest.fixture
async def opened():
    """Open sockets with `await opened(application, ...)`, and close them after the test."""
    clients = []

    async def connect(*arguments, **options):
        client = await SocketClient.connect(*arguments, **options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        if not client.communicator.future.cancelled():
            await client.disconnect()
    await get_process().drain()
    await sync_to_async(connections.close_all)()


def user_named(name):
    """Return a user, created if need be."""
    model = get_user_model()
    user, _ = model.objects.get_or_create(**{model.USERNAME_FIELD: name})
    return user


@sync_to_async
def signed_in(name="ann"):
    """Return the cookies of a browser in which the user has signed in."""
    client = Client()
    client.force_login(user_named(name))
    return client.cookies


def group_members(group):
    """Return the channels that a group of the layer in memory has."""
    return set(get_channel_layer().groups.get(group, ()))


def both(asynchronous, synchronous):
    """Run a test with the async and the sync form of a consumer."""
    return pytest.mark.parametrize("consumer", [asynchronous, synchronous], ids=["async", "sync"])


# Groups named on the class


class Reader(RealtimeConsumer):
    groups = [NEWS]  # noqa: RUF012

    async def receive_event(self, event):
        if event["type"] == "fail":
            raise RuntimeError("a bug")
        if event["type"] == "close":
            await self.close(4000)


class SyncReader(SyncRealtimeConsumer):
    groups = [NEWS]  # noqa: RUF012

    def receive_event(self, event):
        if event["type"] == "fail":
            raise RuntimeError("a bug")
        if event["type"] == "close":
            self.close(4000)


@both(Reader, SyncReader)
@pytest.mark.parametrize("end", ["disconnect", "fail", "close", "drain", "cancellation"])
async def test_groups_of_the_class_are_left_at_the_end(opened, consumer, end):
    """However the connection ends, no channel of it stays in the groups."""
    client = await opened(consumer.as_asgi(), user=await sync_to_async(user_named)("ann"))
    assert await client.receives_nothing()
    assert len(group_members(NEWS)) == 1
    match end:
        case "drain":
            await get_process().drain()
        case "cancellation":
            client.communicator.future.cancel()
            await asyncio.wait({client.communicator.future})
        case "disconnect":
            await client.disconnect()
        case _:
            await client.send(type=end)
            assert await client.close_code() == {"fail": 1011, "close": 4000}[end]
            await client.disconnect()
    assert group_members(NEWS) == set()


@both(Reader, SyncReader)
async def test_publish_reaches_the_groups_of_the_class(opened, consumer):
    """A group that Channels added the consumer to is a group like any other."""
    client = await opened(consumer.as_asgi(), user=await sync_to_async(user_named)("ann"))
    assert await client.receives_nothing()
    await apublish(NEWS, EVENT)
    assert await client.receive() == EVENT


# A consumer without a channel of its own


@pytest.mark.parametrize("base", [RealtimeConsumer, SyncRealtimeConsumer])
def test_groups_need_a_channel_of_their_own(base):
    """Channels would add no channel to them, so the class cannot be created."""
    with pytest.raises(TypeError, match="own_channel"):
        type("Deaf", (base,), {"own_channel": False, "groups": [NEWS]})


class Light(RealtimeConsumer):
    own_channel = False

    async def receive_event(self, event):
        await self.channel_layer.group_add(NEWS, self.channel_name)


class SyncLight(SyncRealtimeConsumer):
    own_channel = False

    def receive_event(self, event):
        async_to_sync(self.channel_layer.group_add)(NEWS, self.channel_name)


@both(Light, SyncLight)
async def test_a_missing_channel_name_is_explained(opened, consumer, caplog):
    """The error names the attribute that gives the consumer a channel."""
    client = await opened(consumer.as_asgi(), user=await sync_to_async(user_named)("ann"))
    await client.send(type="subscribe")
    assert await client.close_code() == 1011
    assert "own_channel" in caplog.text


# Groups joined by `group_add`, and by `join`


class Subscriber(RealtimeConsumer):
    async def joined(self):
        await self.channel_layer.group_add(NEWS, self.channel_name)

    async def news_item(self, message):
        await self.send_event({"type": "item", "text": message["text"]})


class SyncSubscriber(SyncRealtimeConsumer):
    def joined(self):
        async_to_sync(self.channel_layer.group_add)(NEWS, self.channel_name)

    def news_item(self, message):
        self.send_event({"type": "item", "text": message["text"]})


class Listener(Subscriber):
    async def realtime_event(self, message):
        await self.send_event({"type": "own", "event": json.loads(message["text"])})


class SyncListener(SyncSubscriber):
    def realtime_event(self, message):
        self.send_event({"type": "own", "event": json.loads(message["text"])})


@both(Subscriber, SyncSubscriber)
async def test_publish_reaches_members_by_group_add(opened, consumer):
    """The client gets the event, as do members that joined."""
    client = await opened(consumer.as_asgi(), user=await sync_to_async(user_named)("ann"))
    assert await client.receives_nothing()
    await apublish(NEWS, EVENT)
    assert await client.receive() == EVENT
    await get_channel_layer().group_send(NEWS, {"type": "news.item", "text": "x"})
    assert await client.receive() == {"type": "item", "text": "x"}


@both(Listener, SyncListener)
async def test_publish_calls_the_handler_of_a_member_by_group_add(opened, consumer):
    """A consumer that defines `realtime_event` gets the layer message."""
    client = await opened(consumer.as_asgi(), user=await sync_to_async(user_named)("ann"))
    assert await client.receives_nothing()
    await apublish(NEWS, EVENT)
    assert await client.receive() == {"type": "own", "event": EVENT}


class Member(RealtimeConsumer):
    own_channel = False

    async def joined(self):
        await self.join(NEWS)


class SyncMember(SyncRealtimeConsumer):
    own_channel = False

    def joined(self):
        self.join(NEWS)


@both(Member, SyncMember)
async def test_group_send_to_a_joined_group_is_logged(opened, consumer, caplog, monkeypatch):
    """Such a group delivers published events only, and a warning reports it once a minute."""
    monkeypatch.setattr("realtime.malformed.last_line", -float("inf"))
    client = await opened(consumer.as_asgi(), user=await sync_to_async(user_named)("ann"))
    assert await client.receives_nothing()
    layer = get_channel_layer()
    with caplog.at_level(logging.WARNING, "realtime"):
        await layer.group_send(NEWS, {"type": "news.item", "text": "secret"})
        await layer.group_send(NEWS, {"type": "news.item", "text": "secret"})
        await apublish(NEWS, EVENT)
        assert await client.receive() == EVENT
    (line,) = [record.getMessage() for record in caplog.records if "news.item" in record.getMessage()]
    assert "publish" in line and "group_add" in line and "secret" not in line


# WebsocketCommunicator


class Greeter(RealtimeConsumer):
    async def joined(self):
        await self.send_event({"type": "welcome", "user": self.user_name, "user_id": self.user_id})
        await self.join("greeters", presence=True)


class SyncGreeter(SyncRealtimeConsumer):
    def joined(self):
        self.send_event({"type": "welcome", "user": self.user_name, "user_id": self.user_id})
        self.join("greeters", presence=True)


@both(Greeter, SyncGreeter)
async def test_websocket_communicator_drives_a_consumer(opened, consumer):
    """Without a user in the scope the connection is a user of its own."""
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/ws/")
    assert await communicator.connect() == (True, None)
    welcome = await communicator.receive_json_from()
    assert welcome["type"] == "welcome"
    assert welcome["user_id"]
    await communicator.disconnect()


@both(Greeter, SyncGreeter)
async def test_websocket_communicator_may_name_the_user(opened, consumer):
    """A test sets `scope["user"]`, as Channels documents."""
    user = await sync_to_async(user_named)("ann")
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/ws/")
    communicator.scope["user"] = user
    assert await communicator.connect() == (True, None)
    welcome = await communicator.receive_json_from()
    assert welcome == {"type": "welcome", "user": "ann", "user_id": str(user.pk)}
    await communicator.disconnect()


@both(Greeter, SyncGreeter)
async def test_each_connection_gets_the_users(opened, consumer):
    """A second tab does not change presence, and is sent the list."""
    user = await sync_to_async(user_named)("ann")
    expected = {"type": "presence", "users": [{"user": "ann", "user_id": str(user.pk)}], "count": 1}
    for _ in range(2):
        client = await opened(consumer.as_asgi(), user=user)
        assert (await client.receive_until("presence"))[-1] == expected


@both(Greeter, SyncGreeter)
async def test_route_arguments_reach_a_consumer(opened, consumer):
    """The router may stand alone, without the stack of `asgi.py`."""
    application = URLRouter([path("ws/<slug:room>/", consumer.as_asgi())])
    communicator = WebsocketCommunicator(application, "/ws/lobby/?a=1")
    assert await communicator.connect() == (True, None)
    assert (await communicator.receive_json_from())["type"] == "welcome"
    await communicator.disconnect()


# Sessions and users, in any consumer


class Account(AsyncWebsocketConsumer):
    """Ordinary Channels consumer that uses `channels.auth`."""

    async def receive(self, text_data=None, bytes_data=None):
        match text_data.split():
            case ["login", name]:
                await login(self.scope, await sync_to_async(user_named)(name))
                await sync_to_async(self.scope["session"].save)()
            case ["logout"]:
                await logout(self.scope)
            case ["cookies"]:
                await self.send(json.dumps({"type": "cookies", **self.scope["cookies"]}))
        user = await get_user(self.scope)
        names = [user.get_username(), self.scope["user"].get_username(), user.is_authenticated]
        await self.send(json.dumps({"type": "user", "names": names}))


async def test_channels_auth_works_under_the_stack(opened):
    """`scope["session"]` and `scope["cookies"]` are Django's, and `login` and `get_user` use them."""
    cookies = await signed_in()
    client = await opened(application, "/account/", cookies=cookies)
    await client.send_text("whoami")
    assert await client.receive() == {"type": "user", "names": ["ann", "ann", True]}
    await client.send_text("cookies")
    cookie = django_settings.SESSION_COOKIE_NAME
    assert await client.receive() == {"type": "cookies", cookie: cookies[cookie].value}


async def test_a_guest_can_log_in_and_out_in_a_consumer(opened):
    """The consumer sees the changes of `login` and `logout` at once."""
    client = await opened(application, "/account/")
    await client.send_text("login bob")
    assert await client.receive() == {"type": "user", "names": ["bob", "bob", True]}
    await client.send_text("logout")
    assert await client.receive() == {"type": "user", "names": ["", "", False]}


class Visitor(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        user = self.scope["user"]
        about = [user.is_anonymous, user.is_authenticated]
        event = {"type": "user", "about": about, "pk": user.pk, "name": user.get_username()}
        await self.send(json.dumps(event))


async def test_a_guest_is_like_an_anonymous_user(opened):
    """Code that looks at `is_anonymous`, `is_authenticated` or `pk` gets an answer."""
    client = await opened(application, "/visitor/")
    event = await client.receive()
    assert event["about"] == [True, False]
    assert event["pk"] and event["name"]


# AuthMiddlewareStack


@both(Greeter, SyncGreeter)
async def test_auth_middleware_stack_can_be_used(opened, consumer):
    """The user that Channels finds is the consumer's."""
    client = await opened(AuthMiddlewareStack(consumer.as_asgi()), cookies=await signed_in())
    user = await sync_to_async(user_named)("ann")
    assert await client.receive() == {"type": "welcome", "user": "ann", "user_id": str(user.pk)}


@both(Greeter, SyncGreeter)
async def test_logout_closes_under_auth_middleware_stack(opened, consumer):
    """The credential of the connection is that of the session which Channels found."""
    browser = Client()
    await sync_to_async(lambda: browser.force_login(user_named("ann")))()
    client = await opened(AuthMiddlewareStack(consumer.as_asgi()), cookies=browser.cookies)
    await client.receive()
    await sync_to_async(browser.logout)()
    assert await client.close_code() == 4403


class Listener(RealtimeConsumer):
    groups = ["board"]  # noqa: RUF012


class SyncListener(SyncRealtimeConsumer):
    groups = ["board"]  # noqa: RUF012


class Present(RealtimeConsumer):
    async def joined(self):
        await self.join("board")
        await self.join("board", presence=True)
        await self.join("board", presence=True)


@both(Listener, SyncListener)
async def test_presence_leaves_members_by_group_add_alone(opened, consumer):
    """Announcements of presence do not reach a consumer that has no handler for them."""
    listener = await opened(consumer.as_asgi())
    present = await opened(Present.as_asgi(), user=await sync_to_async(user_named)("ann"))
    await asyncio.sleep(0.5)
    await apublish("board", {"type": "note"})
    assert await listener.receive() == {"type": "note"}
    assert (await present.receive_until("note"))[-1] == {"type": "note"}


async def test_joining_again_changes_nothing(opened):
    """A group that was joined three times is left once, and a member may ask for presence later."""
    user = await sync_to_async(user_named)("ann")
    one, other = [await opened(Present.as_asgi(), user=user) for _ in range(2)]
    assert (await other.receive(presence=True))["count"] == 1
    await one.disconnect()
    await other.disconnect()
    await get_process().hub.end_left()
    assert "board" not in get_process().groups


@both(Greeter, SyncGreeter)
async def test_anonymous_visitors_are_not_one_user(opened, consumer, settings):
    """Each counts for themselves, in limits and in presence."""
    settings.REALTIME_MAX_CONNECTIONS = 1
    application = AuthMiddlewareStack(consumer.as_asgi())
    first, second = await opened(application), await opened(application)
    welcomes = [await first.receive(), await second.receive()]
    assert [event["type"] for event in welcomes] == ["welcome", "welcome"]
    assert welcomes[0]["user_id"] != welcomes[1]["user_id"]
    while (await first.receive(presence=True))["count"] != 2:
        pass


# receive_json and send_json


class Json(RealtimeConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json({"type": "got", "content": content})

    async def send_json(self, content, close=False):
        await super().send_json({**content, "by": "us"}, close=close)


class SyncJson(SyncRealtimeConsumer):
    def receive_json(self, content, **kwargs):
        self.send_json({"type": "got", "content": content})

    def send_json(self, content, close=False):
        super().send_json({**content, "by": "us"}, close=close)


@both(Json, SyncJson)
@pytest.mark.parametrize("content", [{"type": "x", "a": 1}, {"a": 1}, [1, "two"], "text", None])
async def test_receive_json_and_send_json_can_be_overridden(opened, consumer, content):
    """An override gets whatever JSON the client sends, and sends what it likes."""
    client = await opened(consumer.as_asgi())
    await client.send_text(json.dumps(content))
    assert await client.receive() == {"type": "got", "content": content, "by": "us"}


class Signed(RealtimeConsumer):
    async def joined(self):
        await self.send_event({"type": "welcome"})

    async def receive_json(self, content, **kwargs):
        await super().receive_json({**content, "seen": True}, **kwargs)

    async def receive_event(self, event):
        await self.send_event(event)

    async def send_json(self, content, close=False):
        await super().send_json({**content, "by": "us"}, close=close)


class SyncSigned(SyncRealtimeConsumer):
    def joined(self):
        self.send_event({"type": "welcome"})

    def receive_json(self, content, **kwargs):
        super().receive_json({**content, "seen": True}, **kwargs)

    def receive_event(self, event):
        self.send_event(event)

    def send_json(self, content, close=False):
        super().send_json({**content, "by": "us"}, close=close)


@both(Signed, SyncSigned)
async def test_receive_json_and_send_json_can_be_extended(opened, consumer):
    """`super().receive_json()` calls `receive_event`, and `send_event` goes by `send_json`."""
    client = await opened(consumer.as_asgi())
    assert await client.receive() == {"type": "welcome", "by": "us"}
    await client.send(type="x")
    assert await client.receive() == {"type": "x", "seen": True, "by": "us"}


class Plain(RealtimeConsumer):
    async def receive_event(self, event):
        await self.send_json(event)


class SyncPlain(SyncRealtimeConsumer):
    def receive_event(self, event):
        self.send_json(event)


@both(Plain, SyncPlain)
async def test_send_json_works_as_inherited(opened, consumer):
    """The inherited `send_json` sends one text frame."""
    client = await opened(consumer.as_asgi())
    await client.send(type="x", text="é")
    assert await client.receive() == {"type": "x", "text": "é"}


# Messages that are changed and sent again


class Counter(RealtimeConsumer):
    async def receive_event(self, event):
        message = {"type": "websocket.send", "text": ""}
        for number in range(3):
            event["number"] = number
            await self.send_event(event)
            message["text"] = json.dumps(event)
            await self.base_send(message)


class SyncCounter(SyncRealtimeConsumer):
    def receive_event(self, event):
        message = {"type": "websocket.send", "text": ""}
        for number in range(3):
            event["number"] = number
            self.send_event(event)
            message["text"] = json.dumps(event)
            self.base_send(message)


def serialized(application):
    """Copy each message when it is sent, as a server does that writes it to the network."""

    async def wrapped(scope, receive, send):
        async def copy(message):
            await send(dict(message))

        await application(scope, receive, copy)

    return wrapped


@both(Counter, SyncCounter)
async def test_a_changed_dict_is_sent_as_it_is_at_that_moment(opened, consumer):
    """Neither events nor messages are kept by identity."""
    client = await opened(serialized(consumer.as_asgi()))
    await client.send(type="count")
    events = [await client.receive() for _ in range(6)]
    assert [event["number"] for event in events] == [0, 0, 1, 1, 2, 2]


# Scopes that are neither HTTP nor WebSocket


class Job(AsyncConsumer):
    done = []  # noqa: RUF012

    async def job_run(self, message):
        self.done.append((self.scope["type"], message["number"]))


async def test_a_worker_passes_every_middleware():
    """`runworker` sends scopes of type `channel`, which have neither headers nor a client."""
    Job.done.clear()
    application = ProtocolTypeRouter({"channel": ChannelNameRouter({"jobs": Job.as_asgi()})})
    for middleware in (BodyLimit, RealtimeMiddlewareStack, TrustedProxies):
        application = middleware(application)
    layer = get_channel_layer()
    worker = asyncio.create_task(Worker(application, ["jobs"], layer).handle())
    await layer.send("jobs", {"type": "job.run", "number": 1})
    async with asyncio.timeout(5):
        while not Job.done and not worker.done():
            await asyncio.sleep(0.01)
    worker.cancel()
    assert Job.done == [("channel", 1)]


def test_runworker_is_a_command_of_the_project():
    """`channels` is in INSTALLED_APPS."""
    assert get_commands().get("runworker") == "channels"


# Ordinary consumers beside the engine's


class Chat(WebsocketConsumer):
    """The consumer of Channels' tutorial."""

    def connect(self):
        async_to_sync(self.channel_layer.group_add)("chat", self.channel_name)
        self.accept()

    def disconnect(self, close_code):
        async_to_sync(self.channel_layer.group_discard)("chat", self.channel_name)

    def receive(self, text_data):
        event = {"type": "chat.message", "message": json.loads(text_data)["message"]}
        async_to_sync(self.channel_layer.group_send)("chat", event)

    def chat_message(self, event):
        self.send(text_data=json.dumps({"type": "chat", "message": event["message"]}))

    def realtime_event(self, message):
        self.send(text_data=message["text"])


with override_settings(REALTIME_THREADS=1):  # each test uses it, also before a live server forks
    application = RealtimeMiddlewareStack(
        URLRouter(
            [
                path("account/", Account.as_asgi()),
                path("chat/", Chat.as_asgi()),
                path("greeter/", Greeter.as_asgi()),
                path("visitor/", Visitor.as_asgi()),
            ]
        )
    )


async def test_publish_reaches_an_ordinary_consumer(opened):
    """A consumer with a handler for layer messages of the type `realtime.event` receives published events."""
    client = await opened(application, "/chat/", cookies=await signed_in())
    await client.send(message="hello")
    assert await client.receive() == {"type": "chat", "message": "hello"}
    await apublish("chat", EVENT)
    assert await client.receive() == EVENT


def test_an_error_of_an_event_is_an_exception_of_the_project():
    """`EventError` can be raised and caught as any other."""
    error = EventError("bad_message", "`a` is missing.", "r1")
    assert error.event() == {"type": "error", "code": "bad_message", "detail": "`a` is missing.", "ref": "r1"}


# Django's test cases

LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
SETTINGS = {
    "CHANNEL_LAYERS": LAYERS,
    "REALTIME_AUTHENTICATORS": ["realtime.auth.sessions.authenticate"],
    "SESSION_ENGINE": "django.contrib.sessions.backends.db",
    "ASGI_APPLICATION": f"{__name__}.application",
}


async def greet(cookies):
    """Connect with the cookies of a signed-in browser, and return the first event."""
    client = await SocketClient.connect(application, "/greeter/", cookies=cookies)
    event = await client.receive()
    await client.disconnect()
    return event


@override_settings(**SETTINGS)
class ConsumerTestCase(TestCase):
    def setUp(self):
        self.user = user_named("ann")
        self.client.force_login(self.user)

    async def test_consumers_can_be_tested(self):
        """The user of the test's transaction is found."""
        welcome = await greet(self.client.cookies)
        assert welcome == {"type": "welcome", "user": "ann", "user_id": str(self.user.pk)}


@override_settings(**SETTINGS)
class ConsumerTransactionTestCase(TransactionTestCase):
    def setUp(self):
        self.user = user_named("ann")
        self.client.force_login(self.user)

    async def test_consumers_can_be_tested(self):
        """The committed user is found."""
        welcome = await greet(self.client.cookies)
        assert welcome == {"type": "welcome", "user": "ann", "user_id": str(self.user.pk)}

    def test_publish_works_in_sync_tests(self):
        """Without connections nothing happens."""
        publish(NEWS, EVENT)


@override_settings(**SETTINGS)
class ConsumerLiveServerTestCase(ChannelsLiveServerTestCase):
    serve_static = False

    def test_consumers_can_be_tested(self):
        """A server in a process of its own sees the test's user."""
        user = user_named("ann")
        self.client.force_login(user)
        cookie = self.client.cookies[django_settings.SESSION_COOKIE_NAME]
        headers = {"Cookie": f"{cookie.key}={cookie.value}"}
        url = f"{self.live_server_ws_url}/greeter/"
        with connect_websocket(url, additional_headers=headers, proxy=None) as socket:
            welcome = json.loads(socket.recv(10))
        assert welcome == {"type": "welcome", "user": "ann", "user_id": str(user.pk)}
