"""Lower bound of the cost: hand-written frames on uvloop, broadcast to a room, and nothing else."""

import asyncio
import base64
import hashlib
import struct
import sys
from collections import defaultdict

import uvloop

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
rooms = defaultdict(set)


class Member(asyncio.Protocol):
    """A connection that understands the load's frames: masked text under 64 KiB, and a close."""

    room = None
    data = b""

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        if self.room is not None:
            self.room.discard(self.transport)

    def data_received(self, data):
        self.data += data
        if self.room is None:
            self.upgrade()
        while self.room is not None and self.take_frame():
            pass

    def upgrade(self):
        head, end, self.data = self.data.partition(b"\r\n\r\n")
        if not end:
            self.data = head
            return
        path = head.split(b" ")[1]
        key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.room = rooms[path]
        self.room.add(self.transport)

    def take_frame(self):
        """Pass on the first frame. Return whether it was complete."""
        data = self.data
        if len(data) < 6:
            return False
        length, start = data[1] & 127, 2
        if length == 126:
            length, start = struct.unpack_from("!H", data, 2)[0], 4
        if len(data) < start + 4 + length:
            return False
        mask, payload = data[start : start + 4], data[start + 4 : start + 4 + length]
        self.data = data[start + 4 + length :]
        if data[0] & 15 == 8:
            self.transport.close()
        else:
            key = (mask * (length // 4 + 1))[:length]
            text = (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(length)
            head = struct.pack("!BB", 0x81, length) if length < 126 else struct.pack("!BBH", 0x81, 126, length)
            frame = head + text
            for transport in self.room:
                transport.write(frame)
        return True


async def main():
    server = await asyncio.get_running_loop().create_server(Member, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


uvloop.run(main())
