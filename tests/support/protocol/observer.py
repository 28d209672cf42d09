"""Clients of a running site that compare all they receive with its document, and count what they have seen."""

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.exceptions import ConnectionClosed

from support.client import NO_TLS, TIMEOUT, cookie, csrf_token, open_socket
from support.frames import PING, Client
from support.protocol import Document
from support.servers import Site, end_group

# A process beside the site: worker, bridge, worker of Channels, and code of the test, which sets `result`.
HELPER = """
import json, sys, threading, django
django.setup()
from django.core.management import call_command
from devices.bridge import DeviceBridge
from realtime.work.worker import Worker
for work in (Worker(2).run, DeviceBridge("helper").run, lambda: call_command("runworker", "estimates", verbosity=0)):
    threading.Thread(target=work, daemon=True).start()
names = {'json': json, 'threading': threading}
for line in sys.stdin:
    exec(json.loads(line), names)
    print(json.dumps(names.pop("result", None)), flush=True)
"""
DEVICE = """
from queue import Queue; from paho.mqtt import client as mqtt
arrived, subscribed = Queue(), threading.Event()
device = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
device.on_message = lambda *message: arrived.put((topics[message[2].topic], json.loads(message[2].payload)))
device.on_subscribe = lambda *_: subscribed.set()
device.connect("127.0.0.1", port)
device.loop_start()
device.subscribe([(topic, 1) for topic, kind in topics.items() if kind in ("stored", "commands")])
assert subscribed.wait(20)
"""
# Creates users, or takes guests. Returns ids and headers.
PEOPLE = {
    "session": """
from django.conf import settings; from django.test import Client; from accounts.models import User
def make(name, staff):
    user, client = User.objects.create(username=name, is_staff=staff), Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    return [str(user.pk), {"Cookie": f"{name}={client.cookies[name].value}"}]
""",
    "token": """
from accounts.models import User; from accounts.tokens import issue_token
def make(name, staff):
    user = User.objects.create(username=name, is_staff=staff)
    return [str(user.pk), {"Authorization": f"Bearer {issue_token(user, 'test')[0]}"}]
""",
    "none": """
from django.conf import settings; from django.test import Client
def make(name, staff):
    client = Client()
    session = client.session
    session["guest_id"] = f"guest-{name}"
    session.save()
    return [session["guest_id"], {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session.session_key}"}]
""",
}


class Observer:
    """Site, a process beside it, and the names of all that was seen."""

    def __init__(self, site: Site, project: Path, auth: str, helper: subprocess.Popen, broker_port: int) -> None:
        self.site, self.project, self.auth, self.helper, self.broker_port = site, project, auth, helper, broker_port
        self.document = Document(project)
        self.people = 0
        self.messages: set[tuple[str, str, str]] = set()
        self.errors: set[str] = set()
        self.closed: set[int] = set()
        self.limits: set[str] = set()
        self.requests: set[str] = set()

    @classmethod
    @contextlib.contextmanager
    def start(cls, site: Site, project: Path, auth: str, python: str, environ: dict[str, str], broker_port: int):
        """Run the helper until the block ends."""
        settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONWARNINGS": "ignore"}
        with (project.parent / "helper.log").open("ab") as log:
            helper = subprocess.Popen(
                [python, "-c", HELPER],
                cwd=project,
                env={**environ, **settings},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            observer = cls(site, project, auth, helper, broker_port)
            observer.run(PEOPLE[auth])
            yield observer
        finally:
            end_group(helper)

    def run(self, code: str, **names: object) -> Any:
        """Run code in the helper, with these names. Return what it has assigned to `result`."""
        assignments = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        self.helper.stdin.write(json.dumps(assignments + code) + "\n")
        self.helper.stdin.flush()
        answer = self.helper.stdout.readline()
        assert answer, (self.project.parent / "helper.log").read_text()
        return json.loads(answer)

    def person(self, *, staff: bool = False) -> "Visitor":
        """Return a new user, or a new guest."""
        self.people += 1
        return Visitor(self, *self.run("result = make(name, staff)", name=f"user{self.people}", staff=staff))

    def stranger(self) -> "Visitor":
        """Return a visitor without a sign-in, from elsewhere: a proxy's own address has no limits."""
        return Visitor(self, "", {"X-Forwarded-For": "198.51.100.7"})

    def start_device(self, name: str) -> None:
        """Connect a device to the broker."""
        topics = {
            channel["address"].replace("{device}", name): kind.removeprefix("devices-")
            for kind, channel in self.document.channels.items()
            if kind.startswith("devices-")
        }
        self.topics = {kind: topic for topic, kind in topics.items()}
        self.run(DEVICE, port=self.broker_port, topics=topics)

    def publish(self, kind: str, payload: object) -> None:
        """Send what the device sends, as JSON or a text."""
        self.messages.add(self.document.identify(f"devices-{kind}", "receive", payload))
        text = payload if isinstance(payload, str) else json.dumps(payload)
        self.run("device.publish(topic, text, 1).wait_for_publish(20)", topic=self.topics[kind], text=text)

    def arrived(self) -> object:
        """Return the next message to the device."""
        kind, payload = self.run("result = arrived.get(timeout=20)")
        self.messages.add(self.document.identify(f"devices-{kind}", "send", payload))
        return payload


class Visitor:
    """User of the site, with the headers that identify one."""

    def __init__(self, observer: Observer, user_id: str, headers: dict[str, str]) -> None:
        self.observer, self.user_id, self.headers = observer, user_id, headers
        origin = {"Origin": observer.site.url, "Referer": f"{observer.site.url}/"}
        self.http = httpx.Client(
            base_url=observer.site.url, headers={**headers, **origin}, trust_env=False, timeout=TIMEOUT, verify=NO_TLS
        )

    def connect(self, address: str, query: str = "", **parameters: object) -> "Socket":
        return Socket(self, address, query, parameters)

    def request(self, documented: str, status: int, *, path: str = "", **options: object) -> httpx.Response:
        """Send a documented request, perhaps with other values in its path, which must have this status."""
        method, address = documented.split()
        self.observer.requests.add(documented)
        if method == "POST" and self.observer.auth != "token":
            page = self.http.get("/jobs/", follow_redirects=True)  # strangers get the login
            assert page.status_code == 200
            jar = "; ".join(filter(None, [self.headers.get("Cookie"), f"csrftoken={cookie(page, 'csrftoken')}"]))
            name = next(name for name in page.cookies if name.endswith("csrftoken"))
            headers = {"Cookie": jar.replace("csrftoken=", f"{name}=", 1), "X-CSRFToken": cookie(page, "csrftoken")}
            options = {"headers": headers, **options}
        answer = self.http.request(method, path or address, **options)
        self.http.cookies.clear()
        assert answer.status_code == status, (documented, answer.status_code, answer.text[:500])
        return answer

    def log_in(self, fields: dict[str, str]) -> httpx.Response:
        """Try a name and a password, in the way of programs or of pages."""
        if self.observer.auth == "token":
            return self.http.post("/api/token/", json=fields)
        page = self.http.get("/accounts/login/")
        return self.http.post("/accounts/login/", data={**fields, "csrfmiddlewaretoken": csrf_token(page)})


class Socket:
    """Socket whose events are compared with the document."""

    def __init__(self, visitor: Visitor, address: str, query: str, parameters: dict[str, object]) -> None:
        self.observer = visitor.observer
        self.channel = self.observer.document.channel_at(address)
        path = self.observer.document.channels[self.channel]["address"].format(**parameters)
        self.connecting = open_socket(
            self.observer.site, path + query, additional_headers=visitor.headers, max_queue=None
        )

    def __enter__(self) -> Self:
        self.connection = self.connecting.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.connecting.__exit__(*error)

    def send(self, **event: object) -> None:
        """Send an event that the document has."""
        self.observer.messages.add(self.observer.document.identify(self.channel, "receive", event))
        self.send_anything(json.dumps(event))

    def send_anything(self, frame: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed):
            self.connection.send(frame)

    def receive(self, **wanted: object) -> dict[str, Any]:
        """Return the next event with these values. Check each event on the way."""
        while True:
            event = json.loads(self.connection.recv(TIMEOUT))
            self.observer.messages.add(found := self.observer.document.identify(self.channel, "send", event))
            if event["type"] == "error":
                self.observer.errors.add(event["code"])
            kind = wanted.get("type")
            same = kind in {None, found[2], event["type"]}
            if same and all(event.get(name) == value for name, value in wanted.items() if name != "type"):
                return event

    def refuses(self, code: str, frame: object = None, **event: object) -> dict[str, Any]:
        """Send a frame or an event. Return the error, whose code is this one."""
        self.send_anything(json.dumps(event) if frame is None else frame)
        return self.receive(type="error", code=code)

    def ends(self, *codes: int | None) -> int | None:
        """Check and count the code of the next close. None is a connection that is cut."""
        try:
            while True:
                self.receive()
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
        assert code in codes, code
        self.observer.closed |= {code} - {None}
        return code


class RawSocket(Client):
    """Client that can send any frame, and reads only if it is asked to."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self.observer = visitor.observer
        headers = "".join(f"{name}: {value}\r\n" for name, value in visitor.headers.items())
        super().__init__(visitor.observer.site, path, headers, received=4096)

    def ends(self, *codes: int | None) -> None:
        """Check and count the code of the close. None is a connection that is cut."""
        code = self.end()
        assert code in codes, code
        self.observer.closed |= {code} - {None}

    def is_cut_without_pongs(self) -> bool:
        """Return whether the site sends a ping, and cuts the connection of a client that does not answer it."""
        pinged = False
        try:
            while True:
                pinged |= self.receive_frame()[0] == PING
        except EOFError:
            return pinged
