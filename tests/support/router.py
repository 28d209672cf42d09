"""Router of a platform, or tunnel: ends TLS, adds headers, and forwards HTTP and WebSockets from its own address."""

import asyncio
import contextlib
import re
import ssl
import threading
from collections.abc import Iterator

import trustme

OWN_ADDRESS = "127.0.0.5"  # unknown to a site


class Router:
    """Running router, which a client uses like a site."""

    def __init__(self, site_port: int, address: str, to: str, headers: dict[str, str]) -> None:
        self.site = (to, site_port)
        self.headers = headers
        self.address = address
        authority = trustme.CA()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self.context)
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)
        self.started = threading.Event()

    async def serve(self) -> None:
        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=self.context)
        self.port = listener.sockets[0].getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        self.started.set()
        await self.ended.wait()
        listener.close()  # connections end with the loop

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one request, and then the bytes of both sides."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            client = writer.get_extra_info("peername")[0]
            # The client's own entries stay, and the router appends the address that it sees.
            before = re.findall(r"(?im)^X-Forwarded-For: (.+)\r$", head)
            changed = {"X-Forwarded-For": ", ".join([*before, client]), "X-Forwarded-Proto": "https", **self.headers}
            if not re.search(r"(?im)^Upgrade:", head):
                changed["Connection"] = "close"
            for name in changed:
                head = re.sub(rf"(?im)^{name}: .*\r\n", "", head)
            head = head.removesuffix("\r\n") + "".join(f"{name}: {value}\r\n" for name, value in changed.items())
            site_reader, site_writer = await asyncio.open_connection(*self.site, local_addr=(self.address, 0))
            site_writer.write(f"{head}\r\n".encode("latin-1"))
            await asyncio.gather(copy(reader, site_writer), copy(site_reader, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def router(site_port: int, address: str = OWN_ADDRESS, to: str = "127.0.0.2", **headers: str) -> Iterator[Router]:
    """Run a router until the block ends. `headers` replace those of the client."""
    running = Router(site_port, address, to, headers)
    thread = threading.Thread(target=asyncio.run, args=[running.serve()])
    thread.start()
    running.started.wait(10)
    try:
        yield running
    finally:
        running.loop.call_soon_threadsafe(running.ended.set)
        thread.join()
