"""WebSocket client over a raw socket, which can send any frame."""

import os
import socket
import struct

PATIENCE = 15
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode, payload=b"", *, fin=True, rsv=0, masked=True):
    """Return the bytes of a frame."""
    length = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([masked << 7 | length])
    elif length < 65536:
        head += bytes([masked << 7 | 126]) + struct.pack("!H", length)
    else:
        head += bytes([masked << 7 | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    repeated = int.from_bytes(mask * (length // 4 + 1)) >> 8 * (4 - length % 4)
    return head + mask + (int.from_bytes(payload) ^ repeated).to_bytes(length) if length else head + mask


def fragments(opcode, *pieces):
    """Return the frames of one message."""
    last = len(pieces) - 1
    return [frame(CONTINUATION if n else opcode, piece, fin=n == last) for n, piece in enumerate(pieces)]


def closing(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Client:
    """WebSocket client that sends the frames of a test."""

    def __init__(self, site, path="/ws/echo/", headers="", received=0):
        """Connect. The system keeps about `received` bytes for a client that does not read, or its default."""
        self.socket = socket.socket()
        if received:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", site.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            assert self.fill(), self.buffer
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *data):
        self.socket.sendall(b"".join(data))

    def fill(self):
        """Read more. Return False at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self.buffer += data
        return bool(data)

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def receive(self):
        """Return the opcode and the payload of the next message, close or pong. Answer the server's pings."""
        opcode, payload = self.receive_frame()
        while opcode == PING:
            self.send(frame(PONG, payload))
            opcode, payload = self.receive_frame()
        return opcode, payload

    def receive_frame(self):
        first, second = self.take(2)
        assert first & 0x70 == 0, "reserved bits"
        assert second & 0x80 == 0, "a server does not mask"
        length = second
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(self.take(size))
        payload = self.take(length)
        opcode = first & 0x0F
        if not first & 0x80:
            following, rest = self.receive_frame()
            assert following == CONTINUATION
            payload += rest
        return opcode, payload

    def end(self):
        """Wait for the server to close. Return its close code, 1005 without a code, or None without a frame."""
        code = None
        try:
            while True:
                opcode, payload = self.receive()
                if opcode == CLOSE and code is None:
                    code = int.from_bytes(payload[:2]) if payload else 1005
        except EOFError:
            return code
