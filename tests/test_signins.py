"""Every way to end a sign-in closes its sockets in the promised time: each kind of consumer, server and layer."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import httpx
import pytest
from support.client import NO_TLS, TIMEOUT, csrf_token
from support.emitted import TEMPLATE, bake, clean_environ, environ_for, run
from support.matrix import PYTHONS, combinations, complete, label, spread
from support.servers import start_site
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

SITES = spread(combinations("server", "channel_layer"), "consumers", "database", "django_version")
WORKERS = complete("channel_layer", {"in-memory": 1, "redis": 2})
PASSWORD = "correct horse battery staple"
PAGE = TEMPLATE / "docs" / "sign-ins.md"
SUPPORT = TEMPLATE / "tests" / "support" / "signins"
THIRD_PARTY = ["djangochannelsrestframework>=1.3,<2", "djangorestframework>=3.15,<4"]
KINDS = ["RealtimeConsumer", "SyncRealtimeConsumer", "AsyncWebsocketConsumer", "WebsocketConsumer", "AsyncAPIConsumer"]
FRAME = '{"type":"ping","action":"echo","request_id":1}'
SETTINGS = """
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REALTIME_MAX_CONNECTIONS = 1000
REALTIME_AUTHENTICATORS = ["signins.consumers.authenticate"]
"""
ROUTES = """
from signins.consumers import routes
websocket_urlpatterns[:0] = routes
"""

AT_ONCE = 1  # second
BEAT = 6  # seconds: the next look-up starts within five
NEVER = None

LOGOUTS, RECONNECTING = 10, 3  # of clients that reconnect meanwhile


class Actor:
    """A process of the project beside its server, such as a shell or a scheduled job."""

    def __init__(self, project, environ, python):
        self.command = [python, "-m", "signins.actor"]
        self.process = subprocess.Popen(
            self.command, cwd=project, env=environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def do(self, name, *arguments):
        print(json.dumps([name, arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "the actor failed"
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait(TIMEOUT)


class Browser:
    """A signed-in user with pages of the site."""

    def __init__(self, site, actor, name):
        self.name = name
        self.site = site
        self.pk, self.cookie, self.key = actor.do("make", name, PASSWORD)
        self.http = httpx.Client(
            base_url=site.url,
            timeout=TIMEOUT,
            trust_env=False,
            verify=NO_TLS,
            cookies={self.cookie: self.key},
            headers={"Origin": site.url, "Referer": f"{site.url}/"},
        )

    def post(self, path, page="/", **fields):
        """Submit a form."""
        token = csrf_token(self.http.get(page))
        answer = self.http.post(path, data={**fields, "csrfmiddlewaretoken": token})
        assert answer.status_code == 302, answer.text

    def url(self, kind, query=""):
        return f"{self.site.url.replace('http', 'ws', 1)}/ws/{kind}/{query}"

    def headers(self):
        return {"Cookie": f"{self.cookie}={self.key}"}


def log_out(browser, stage):
    browser.post("/accounts/logout/")


def log_in_as(browser, stage, other=None):
    name = other or browser.name
    browser.post("/admin/login/?next=/admin/", username=name, password=PASSWORD)


def in_admin(browser, stage, page, **fields):
    path = f"/admin/accounts/user/{browser.pk}/{page}/"
    if page == "change":
        fields |= {"username": f"{browser.name}-renamed", "display_name": "Renamed"}
        fields |= {"email": f"{browser.name}@example.com", "date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
    stage.admin.post(path, path, **fields)


def in_consumer(browser, stage, kind):
    """Let one of the sockets log out."""
    stage.say(browser, kind, "logout")


def elsewhere(browser, stage, name):
    stage.actor.do(name, browser.pk, browser.key)


def change_password(browser, stage):
    command = [stage.actor.command[0], "manage.py", "changepassword", browser.name]
    done = subprocess.run(
        command,
        cwd=stage.project,
        env=stage.environ,
        input="new horse battery\n" * 2,
        text=True,
        capture_output=True,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr


def expire(browser, stage):
    time.sleep(max(0, stage.expires - time.time()))


def nothing(browser, stage):
    pass


@dataclass
class Way:
    """A way to end a sign-in, and the promised seconds until its sockets are closed."""

    text: str
    act: Callable
    in_memory: float | None
    redis: float | None
    query: str = ""

    def seconds(self, layer):
        return complete("channel_layer", {"in-memory": self.in_memory, "redis": self.redis})[layer]


WAYS = [
    Way("logout", log_out, AT_ONCE, AT_ONCE),
    Way("login as another user over the session", partial(log_in_as, other="bystander"), AT_ONCE, AT_ONCE),
    Way("login as the same user", log_in_as, NEVER, NEVER),
    Way("`channels.auth.logout()` in an async consumer", partial(in_consumer, kind=KINDS[2]), AT_ONCE, AT_ONCE),
    Way("`channels.auth.logout()` in a sync consumer", partial(in_consumer, kind=KINDS[3]), AT_ONCE, AT_ONCE),
    Way("deactivated and renamed in the admin", partial(in_admin, page="change"), AT_ONCE, AT_ONCE),
    Way(
        "new password in the admin",
        partial(in_admin, page="password", password1="new horse", password2="new horse", usable_password="true"),
        AT_ONCE,
        AT_ONCE,
    ),
    Way("deleted in the admin", partial(in_admin, page="delete", post="yes"), AT_ONCE, AT_ONCE),
    Way("session deleted with `delete()`", partial(elsewhere, name="delete_session"), BEAT, AT_ONCE),
    Way("session deleted with `QuerySet.delete()`", partial(elsewhere, name="delete_sessions"), BEAT, AT_ONCE),
    Way("new password with `save()`", partial(elsewhere, name="save_password"), BEAT, AT_ONCE),
    Way("`manage.py changepassword`", change_password, BEAT, AT_ONCE),
    Way("deactivated and renamed in one `save()`", partial(elsewhere, name="deactivate_and_rename"), BEAT, AT_ONCE),
    Way("user deleted with `delete()`", partial(elsewhere, name="delete_user"), BEAT, AT_ONCE),
    Way("session deleted with SQL", partial(elsewhere, name="delete_session_by_sql"), BEAT, BEAT),
    Way("session expired", partial(elsewhere, name="expire_session"), BEAT, BEAT),
    Way("session expired, then `manage.py clearsessions`", partial(elsewhere, name="clear_sessions"), BEAT, BEAT),
    Way("session expired, then `manage.py cleanup`", partial(elsewhere, name="run_cleanup"), BEAT, BEAT),
    Way("new password with `update()`", partial(elsewhere, name="update_password"), BEAT, BEAT),
    Way("new password with SQL", partial(elsewhere, name="update_password_by_sql"), BEAT, BEAT),
    Way("deactivated with `update()`", partial(elsewhere, name="update_is_active"), BEAT, BEAT),
    Way("deactivated with SQL", partial(elsewhere, name="deactivate_by_sql"), BEAT, BEAT),
    Way("user deleted with SQL", partial(elsewhere, name="delete_user_by_sql"), BEAT, BEAT),
    Way("`find_valid` omits the key", partial(elsewhere, name="delete_key"), BEAT, BEAT, "?key={browser.pk}"),
    Way("`expires_at` of the identity", expire, AT_ONCE, AT_ONCE, "?expires={stage.expires}"),
]
BYSTANDER = Way("nothing", nothing, NEVER, NEVER)


class Socket:
    """A socket that notes when it is closed."""

    def __init__(self, kind, socket):
        self.kind = kind
        self.socket = socket
        self.closed_at = None
        self.waiting = asyncio.create_task(self.wait())

    async def wait(self):
        try:
            while True:
                await self.socket.recv()
        except ConnectionClosed:
            self.closed_at = time.monotonic()


@dataclass
class Stage:
    """A running site with the sockets of each way's user."""

    site: object
    project: object
    environ: dict
    actor: Actor
    copies: int  # of each socket
    expires: float = 0
    sockets: dict = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop | None = None

    def say(self, browser, kind, text):
        sockets = [socket for socket in self.sockets[browser.name] if socket.kind == kind]
        asyncio.run_coroutine_threadsafe(sockets[0].socket.send(text), self.loop).result()

    async def open(self, browser, way):
        """Open the sockets of a user, and wait until each has got an answer."""

        self.expires = time.time() + 5

        async def open_one(kind):
            url = browser.url(kind, way.query.format(browser=browser, stage=self))
            options = {"origin": self.site.url, "additional_headers": browser.headers(), "open_timeout": TIMEOUT}
            socket = await connect(url, proxy=None, **options)
            await socket.send(FRAME)
            await asyncio.wait_for(socket.recv(), TIMEOUT)
            return Socket(kind, socket)

        self.sockets[browser.name] = await asyncio.gather(*(open_one(kind) for kind in KINDS * self.copies))

    async def play(self, ways):
        """End each sign-in. Return the promise of each socket, its close code, and the seconds until its close."""
        self.loop = asyncio.get_running_loop()
        browsers = [await asyncio.to_thread(Browser, self.site, self.actor, name) for _, name in ways]
        self.admin = await asyncio.to_thread(Browser, self.site, self.actor, "admin")
        for browser, (way, _) in zip(browsers, ways, strict=True):
            await self.open(browser, way)
        ends = {}

        def act(browser, way):
            way.act(browser, self)
            ends[browser.name] = time.monotonic()

        slow = []
        for browser, (way, _) in zip(browsers, ways, strict=True):
            doing = asyncio.to_thread(act, browser, way)
            if way.act in (change_password, expire):
                slow.append(asyncio.create_task(doing))
            else:
                await doing
        await asyncio.gather(*slow)
        await asyncio.sleep(max(0, max(ends.values()) + BEAT + 0.5 - time.monotonic()))
        found = {}
        for way, name in ways:
            for socket in self.sockets[name]:
                end = None if socket.closed_at is None else socket.closed_at - ends[name]
                found.setdefault(way.text, []).append((socket.kind, socket.socket.close_code, end))
                socket.waiting.cancel()
        return found


async def reconnect(browser, sockets, signed_out):
    """Open one socket after the other with the browser's cookie, also for a while after the logout."""
    options = {"origin": browser.site.url, "additional_headers": browser.headers(), "open_timeout": TIMEOUT}
    while time.monotonic() < signed_out.get("at", time.monotonic()) + 0.3:
        socket = await connect(browser.url(KINDS[2]), proxy=None, **options)
        sockets.append(socket)
        with contextlib.suppress(ConnectionClosed):
            await socket.send(FRAME)


async def is_open(socket):
    """Return whether the server answers a ping."""
    try:
        await asyncio.wait_for(await socket.ping(), TIMEOUT)
    except ConnectionClosed:
        return False
    return True


async def survivors(browser):
    """Log out while tasks reconnect. Return the number of sockets, and of those that are open a second later."""
    sockets, signed_out = [], {}
    tasks = [asyncio.create_task(reconnect(browser, sockets, signed_out)) for _ in range(RECONNECTING)]
    await asyncio.sleep(0.3)
    await asyncio.to_thread(log_out, browser, None)
    signed_out["at"] = time.monotonic()
    await asyncio.gather(*tasks)
    await asyncio.sleep(AT_ONCE)
    alive = [await is_open(socket) for socket in sockets]
    await asyncio.gather(*(socket.close() for socket in sockets))
    return len(sockets), sum(alive)


@pytest.fixture(scope="module")
def third_party(tmp_path_factory):
    """A folder with a library of consumers, which no environment of the template has."""
    folder = tmp_path_factory.mktemp("third-party")
    run(
        ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *THIRD_PARTY], folder, clean_environ()
    )
    return folder


@pytest.fixture(
    scope="module",
    params=[pytest.param(site, id=label(site), marks=pytest.mark.xdist_group(label(site))) for site in SITES],
)
def stage(request, cookies_session, environment, services, third_party):
    """A site with the consumers, and a process beside it."""
    answers = request.param
    project = bake(cookies_session, **answers)
    shutil.copytree(SUPPORT, project / "signins", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {"settings.py": SETTINGS, "routing.py": ROUTES}.items():
        with (project / "config" / name).open("a") as file:
            file.write(text)
    python = environment(PYTHONS[-1], answers["django_version"])
    workers = WORKERS[answers["channel_layer"]]
    variables = {**services(answers), "WEB_CONCURRENCY": str(workers), "PYTHONPATH": str(third_party)}
    environ = environ_for(python, **variables)
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(start_site(["uv", "run", "python", "manage.py", "serve"], project, environ))
        actor = stack.enter_context(contextlib.closing(Actor(project, environ, str(python / "bin" / "python"))))
        stage = Stage(site, project, environ, actor, copies=workers)
        stage.layer = answers["channel_layer"]
        yield stage


def test_every_end_closes_the_sockets(stage):
    """Each socket of the sign-in closes with 4403 in the promised time, and no others."""
    ways = [(BYSTANDER, "bystander"), *((way, f"user{number}") for number, way in enumerate(WAYS))]
    found = asyncio.run(stage.play(ways))
    wrong = {}
    for way, _ in ways:
        limit = way.seconds(stage.layer)
        for kind, code, seconds in found[way.text]:
            good = seconds is None if limit is None else code == 4403 and seconds is not None and seconds <= limit
            if not good:
                wrong.setdefault(way.text, []).append((kind, code, seconds))
        times = [seconds for _, _, seconds in found[way.text] if seconds is not None]
        print(f"{way.text:50} {max(times):6.2f} s" if times else f"{way.text:50} open")
    assert not wrong, stage.site.log.read_text()[-3000:]


def test_no_socket_survives_a_logout(stage):
    """A client that reconnects in a loop has no open socket a second after its logout."""

    browsers = [Browser(stage.site, stage.actor, f"client{number}") for number in range(LOGOUTS)]

    async def attempts():
        return await asyncio.gather(*map(survivors, browsers))

    found = asyncio.run(attempts())
    print(found)
    assert [alive for _, alive in found] == [0] * LOGOUTS


async def enter(stage, person, room):
    """Return sockets of a member in a room, after their welcomes."""
    options = {"origin": stage.site.url, "additional_headers": person.headers(), "open_timeout": TIMEOUT}
    sockets = [await connect(person.url(f"chat/{room}"), proxy=None, **options) for _ in range(stage.copies)]
    for socket in sockets:
        assert json.loads(await asyncio.wait_for(socket.recv(), TIMEOUT))["type"] == "welcome"
    return sockets


def test_member_removed_by_sql_loses_the_room(stage):
    """Within a beat the sockets in the private room close with 4403. Those of others, and in other rooms, stay."""
    owner, member = [Browser(stage.site, stage.actor, name) for name in ("owner", "member")]
    for room in ("~club", "~other"):
        stage.actor.do("create_room", room, owner.pk, member.pk)

    async def remove():
        removed = [Socket("ChatConsumer", socket) for socket in await enter(stage, member, "~club")]
        others = [*await enter(stage, owner, "~club"), *await enter(stage, member, "~other")]
        others += await enter(stage, member, "hall")
        stage.actor.do("remove_member_by_sql", member.pk, "~club")
        start = time.monotonic()
        await asyncio.wait({socket.waiting for socket in removed}, timeout=BEAT)
        print([socket.closed_at and socket.closed_at - start for socket in removed])
        assert [socket.socket.close_code for socket in removed] == [4403] * stage.copies
        assert all([await is_open(socket) for socket in others])
        await asyncio.gather(*(socket.close() for socket in others))

    asyncio.run(remove())


def table():
    """Return the ways and their seconds as a table in Markdown."""
    rows = [("The sign-in ends by", "one process, in memory", "several processes, Redis")]
    rows += [("---", "---", "---")]
    for way in WAYS:
        rows.append(
            (way.text, *("stays open" if limit is None else f"{limit} s" for limit in (way.in_memory, way.redis)))
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@pytest.mark.quick
def test_page_lists_every_way():
    """docs/sign-ins.md has the ways, the seconds and the kinds of consumers that are tested."""
    page = PAGE.read_text(encoding="utf-8")
    assert table() in page, table()
    assert all(f"`{kind}`" in page for kind in KINDS)
