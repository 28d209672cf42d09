"""Rooms with `broadcast()` of the websockets library."""

import asyncio
import json
import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import broadcast, serve

rooms = defaultdict(set)


async def handler(websocket):
    room = rooms[websocket.request.path]
    room.add(websocket)
    try:
        async for text in websocket:
            broadcast(room, json.dumps({"message": json.loads(text)["message"]}))
    finally:
        room.remove(websocket)


async def main():
    async with serve(handler, "127.0.0.1", int(sys.argv[1]), compression=None):
        await asyncio.get_running_loop().create_future()


uvloop.run(main())
