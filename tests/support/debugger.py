"""Debugger of an IDE: a client of the Debug Adapter Protocol."""

import json
import socket


class Debugger:
    """Connection to the adapter of one process, which stops at a line of a file."""

    def __init__(self, address: tuple[str, int], configuration: dict[str, object], path: str, line: int) -> None:
        self.stream = socket.create_connection(address, timeout=30).makefile("rwb")
        self.number = 0
        self.request("initialize", adapterID="debugpy")
        self.receive("initialize")
        self.request("attach", **configuration)
        self.receive("initialized")
        self.request("setBreakpoints", source={"path": path}, breakpoints=[{"line": line}])
        self.request("configurationDone")

    def request(self, command: str, **arguments: object) -> None:
        """Send a request."""
        self.number += 1
        message = {"seq": self.number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.stream.flush()

    def receive(self, name: str) -> dict:
        """Return the body of the next event, or of the next successful response, with this name."""
        while True:
            length = int(self.stream.readline().removeprefix(b"Content-Length: "))
            self.stream.readline()
            message = json.loads(self.stream.read(length))
            if name == message.get("event") or (name == message.get("command") and message["success"]):
                return message.get("body") or {}
