"""Rooms of python-socketio, through Redis if REDIS_URL is set."""

import os

import socketio

manager = socketio.AsyncRedisManager(os.environ["REDIS_URL"]) if "REDIS_URL" in os.environ else None
server = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
app = socketio.ASGIApp(server)
rooms = {}


@server.event
async def join(sid, room):
    rooms[sid] = room
    await server.enter_room(sid, room)
    await server.emit("joined", to=sid)


@server.event
async def say(sid, event):
    await server.emit("said", {"message": event["message"]}, room=rooms[sid])


@server.event
async def disconnect(sid, reason):
    rooms.pop(sid, None)
