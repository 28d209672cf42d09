"""Stand-in for the service of a language model, over real HTTP in the format of Anthropic's streams."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE_SECONDS = 0.05


class Service(ThreadingHTTPServer):
    """HTTP server that answers each request with the next of the answers, and keeps the requests.

    An answer is a list of pieces, or the status and the type of an error. None among the pieces ends the stream with
    an error, and a threading.Event lets the stream wait.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: list = []
        self.requests: list[tuple[str, dict, dict]] = []  # path, headers and body


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        answer = self.server.answers.pop(0)
        with contextlib.suppress(OSError):  # the client has left
            if isinstance(answer, tuple):
                self.refuse(*answer)
            else:
                self.stream(body, answer)

    def refuse(self, status: int, kind: str) -> None:
        body = json.dumps({"type": "error", "error": {"type": kind, "message": kind}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, body: dict, pieces: list) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": []}
        usage = {"input_tokens": 9, "output_tokens": 1}
        self.send("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": usage})
        self.send("content_block_start", index=0, content_block={"type": "text", "text": ""})
        self.send("ping")
        for piece in pieces:
            if piece is None:
                return self.send("error", error={"type": "overloaded_error", "message": "Overloaded"})
            if isinstance(piece, threading.Event):
                piece.wait(30)
                continue
            time.sleep(PIECE_SECONDS)
            self.send("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        self.send("content_block_stop", index=0)
        stopped = {"stop_reason": "end_turn", "stop_sequence": None}
        self.send("message_delta", delta=stopped, usage={"output_tokens": 9})
        self.send("message_stop")

    def send(self, kind: str, **fields: object) -> None:
        """Send a server-sent event."""
        self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def language_model() -> Iterator[Service]:
    """Run the service until the block ends."""
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield service
        service.shutdown()
        thread.join()
