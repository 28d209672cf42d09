"""Stand-in for Sentry: takes envelopes over real HTTP."""

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Intake(ThreadingHTTPServer):
    """HTTP server that keeps what it receives, and does not answer while it is frozen."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.dsn = f"http://key@127.0.0.1:{self.server_port}/1"
        self.bodies: list[bytes] = []
        self.thawed = threading.Event()
        self.thawed.set()

    def exceptions(self) -> set[str]:
        """Return the messages of the exceptions that were reported."""
        return {
            value["value"]
            for body in list(self.bodies)
            for line in body.splitlines()
            for value in json.loads(line).get("exception", {"values": []})["values"]
        }


class Handler(BaseHTTPRequestHandler):
    server: Intake

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(gzip.decompress(body))
        self.server.thawed.wait(60)
        with contextlib.suppress(OSError):  # the client has left
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def sentry() -> Iterator[Intake]:
    """Run the server until the block ends."""
    with Intake() as intake:
        thread = threading.Thread(target=intake.serve_forever)
        thread.start()
        yield intake
        intake.shutdown()
        thread.join()
