"""Development server."""

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.management.commands import runserver
from django.db import connections
from django.utils import autoreload

from realtime import servers, startup
from realtime.conf import settings
from realtime.environment import is_loopback, is_private
from realtime.process import processes, running_loop
from realtime.servers import workers

LOCAL_HOSTS = ("127.0.0.1", "localhost")
EVERY_ADDRESS = {"0", "0.0.0.0", "::"}
ELSEWHERE = ("192.0.2.1", 9)  # an address for documentation (RFC 5737)
QUIT = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
RELOAD = 3  # status at which Django's reloader starts the next process


class Command(runserver.Command):
    """Command that serves the site for development, and restarts when a file has changed."""

    addr: str
    port: str
    help = "Serve the site with SERVER for development, and restart when a file has changed."

    def handle(self, *arguments: Any, **options: Any) -> None:
        self.default_addr, self.default_port = settings.HOST, str(settings.PORT)
        super().handle(*arguments, **options)

    def inner_run(self, *arguments: Any, **options: Any) -> None:
        """Serve in this thread. The main thread reloads, and ends this one with the process."""
        autoreload.raise_last_exception()
        if options["use_reloader"]:
            workers.stop_after(workers.wait_for_parent)  # the reloader was killed
            autoreload.file_changed.connect(drain)
        workers.exit_on_signals()
        if not options["skip_checks"]:
            self.check()
        try:
            servers.load()
            startup.check(processes=1, host=self.addr)
            handler = self.get_handler(**options)
            connections.close_all()
            listener = workers.listen(self.addr, int(self.port))
            scheme = "https" if settings.TLS_CERTFILE else "http"
            host = f"[{self.addr}]" if ":" in self.addr else self.addr
            own = own_host(self.addr)
            names = own_names() if self.addr in EVERY_ADDRESS else []
            allow([own, *names], f"{scheme}://{{}}:{self.port}")
            self.stdout.write(
                f"Django version {self.get_version()}, "
                f"using settings {os.environ['DJANGO_SETTINGS_MODULE']!r}\n"
                f"Starting {settings.SERVER} at {scheme}://{host}:{self.port}/\n"
                f"{for_phones(listener.getsockname()[0], f'{scheme}://{own}:{self.port}/')}\n"
                f"Quit the server with {QUIT}."
            )
            self.stdout.flush()
            if apps.is_installed("realtime.work"):
                from realtime.work.worker import start_worker

                start_worker()
            servers.serve(handler, listener)
        except SystemExit as error:  # ends a thread only, and unseen
            self.stderr.write(str(error))
            os._exit(1)

    def get_handler(self, *arguments: Any, **options: Any) -> Any:
        """Return ASGI_APPLICATION, behind the static files if Django is to serve them."""
        application: Any = servers.load_application()
        serve_static = settings.DEBUG or options["insecure_serving"]
        if not apps.is_installed("django.contrib.staticfiles"):
            return application
        if serve_static and options["use_static_handler"]:
            return ASGIStaticFilesHandler(application)
        return application


def own_host(address: str) -> str:
    """Return the host by which others reach this address: for all addresses, the one in the LAN."""
    if address not in EVERY_ADDRESS:
        return f"[{address}]" if ":" in address else address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(ELSEWHERE)  # chooses the interface, and sends nothing
        own: str = probe.getsockname()[0]
        return own if is_private(own) else LOCAL_HOSTS[0]
    return LOCAL_HOSTS[0]


def own_names() -> list[str]:
    """Return the names by which others in the LAN may know this machine."""
    name = socket.gethostname().lower()
    return [name for name in (name, f"{name}.local") if is_private(name)]


def allow(own: list[str], origin: str) -> None:
    """Serve these hosts and this machine too, if DEBUG is set. Let pages at this port open sockets.

    The settings know neither the port nor the address of the command line.
    """
    if not settings.DEBUG:
        return
    local = [".localhost", *LOCAL_HOSTS, "[::1]"]  # Django's default
    django_settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, *local, *own]
    if settings.ALLOWED_ORIGINS is not None:
        origins = map(origin.format, (*own, *LOCAL_HOSTS))
        settings.ALLOWED_ORIGINS = [*settings.ALLOWED_ORIGINS, *origins]


def for_phones(address: str, url: str) -> str:
    """Return the line about other devices, to which this address may be closed."""
    if is_loopback(address):
        return "For phones in the same network, start it with HOST=0.0.0.0."
    return f"Open it on phones in the same network: {url}"


def drain(*, file_path: Path, **_: Any) -> None:
    """Close open sockets with 4012, and end this process for the reloader.

    Django would let the interpreter end, in which a request that is still served fails.
    """
    if file_path.suffix != ".py":  # templates are reloaded without a restart
        return
    if apps.is_installed("realtime.work"):
        from realtime.work.worker import stop_workers

        stop_workers()
    if loop := running_loop():
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(processes[loop].drain(), loop).result(timeout=5)
    autoreload.logger.info("%s changed, reloading.", file_path)
    servers.exit_now(RELOAD)
