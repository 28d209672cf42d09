"""Consumers of each kind, which answer each frame, and an authenticator of the project's own."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

from asgiref.sync import async_to_sync
from channels.auth import logout
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.urls import path
from djangochannelsrestframework.consumers import AsyncAPIConsumer
from djangochannelsrestframework.decorators import action
from djangochannelsrestframework.permissions import AllowAny
from realtime.auth.sessions import authenticate as authenticate_by_session
from realtime.consumers import RealtimeConsumer, SyncRealtimeConsumer

KEYS = Path("keys")  # a file for each valid key


class AsyncOrdinary(AsyncWebsocketConsumer):
    async def receive(self, text_data):
        if text_data == "logout":
            await logout(self.scope)
        await self.send(text_data)


class SyncOrdinary(WebsocketConsumer):
    def receive(self, text_data):
        if text_data == "logout":
            async_to_sync(logout)(self.scope)
        self.send(text_data)


class ThirdParty(AsyncAPIConsumer):
    permission_classes = (AllowAny,)

    @action()
    async def echo(self, **_):
        return {}, 200


def authenticate(scope):
    """Return the user of the session. The query may name the time of an end, or a key."""
    identity = authenticate_by_session(scope)
    match parse_qs(scope["query_string"].decode()):
        case {"expires": [seconds]}:
            return replace(identity, expires_at=datetime.fromtimestamp(float(seconds), UTC))
        case {"key": [key]}:
            return replace(identity, key=key, find_valid=find_valid)
    return identity


def find_valid(keys):
    return {key for key in keys if (KEYS / key).exists()}


PATHS = {
    "RealtimeConsumer": RealtimeConsumer,
    "SyncRealtimeConsumer": SyncRealtimeConsumer,
    "AsyncWebsocketConsumer": AsyncOrdinary,
    "WebsocketConsumer": SyncOrdinary,
    "AsyncAPIConsumer": ThirdParty,
}
routes = [path(f"ws/{name}/", consumer.as_asgi()) for name, consumer in PATHS.items()]
