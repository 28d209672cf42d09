"""The pages in real browsers, while people talk, networks fail and servers are killed."""

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, Visits, launch, seed
from support.client import MOST, PASSWORD, Person, close_code, cookie, csrf_token, receive
from support.emitted import bake, environ_for, run
from support.matrix import PYTHONS, combinations, spread
from support.servers import free_port, start_site

SITES = {
    answers["server"]: answers
    for answers in spread(combinations("server"), "channel_layer", "consumers", "auth", "django_version")
}
FIRST, *_ = SITES
FOCUS_RING = 4  # pixels around a field
RING_BOTTOM = """log => {
  const { outlineOffset, outlineWidth } = getComputedStyle(log);
  return log.getBoundingClientRect().bottom + parseFloat(outlineOffset) + parseFloat(outlineWidth);
}"""
# More than one page of the list has.
ROOMS = "from chat.models import Room; Room.objects.bulk_create(Room(name=f'many {n:03}') for n in range(120))"
# After a sign-out the page of a room asks for itself. It follows no redirect, and may be left before the answer.
ASKED = r"/chat/\S* net::ERR_ABORTED"
STORED = "JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"
NO_TICKET = r"/api/ticket/ (401|net::ERR_ABORTED)|status of 401"


def where(*places):
    """Run a test in these browsers on these sites. The tests of one place share both."""
    return pytest.mark.parametrize(
        "place",
        [pytest.param(place, marks=pytest.mark.xdist_group(f"browser-{place}")) for place in places],
        indirect=True,
        scope="module",
    )


CHROMIUM = [f"chromium-{server}" for server in SITES]
SIGNED_IN = [f"chromium-{server}" for server, answers in SITES.items() if answers["auth"] != "none"]
everywhere = where(*CHROMIUM, f"firefox-{FIRST}")
signed_in = where(*SIGNED_IN, f"firefox-{FIRST}")
in_chromium = where(*CHROMIUM)
once = where(f"chromium-{FIRST}")


class Site:
    """Emitted project whose server is killed and restarted on the same port."""

    tls = None

    def __init__(self, project, environ, auth, stack):
        self.project, self.environ, self.auth, self.stack = project, environ, auth, stack
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.manage("migrate", "--verbosity", "0")
        self.manage("shell", "-c", ROOMS)

    def start(self):
        self.process = self.stack.enter_context(start_site(["make", "serve"], self.project, self.environ, self.port))

    @contextlib.contextmanager
    def down(self):
        """Kill the server. Restart it when the block ends."""
        self.process.kill()
        try:
            yield
        finally:
            self.start()

    def manage(self, *command):
        run(["uv", "run", "python", "manage.py", *command], self.project, self.environ)

    def end_session(self, key):
        code = f"from django.contrib.sessions.models import Session; Session.objects.get(pk={key!r}).delete()"
        self.manage("shell", "-c", code)


@pytest.fixture(scope="module")
def place(request):
    """A browser and a server."""
    return request.param.split("-")


@pytest.fixture(scope="module")
def browser(place):
    """One browser for all tests of a place. Each window has its own profile."""
    # Not for the whole session: it keeps an event loop running, and other modules need their own.
    with sync_playwright() as playwright, launch(playwright, place[0]) as browser:
        yield browser


@pytest.fixture(scope="module")
def site(place, cookies_session, environment, request):
    answers = SITES[place[1]]
    project = bake(cookies_session, **answers)
    redis = {"REDIS_URL": f"{request.getfixturevalue('redis').url}/0"} if answers["channel_layer"] == "redis" else {}
    environ = environ_for(environment(PYTHONS[-1], answers["django_version"]), **redis)
    with contextlib.ExitStack() as stack:
        site = Site(project, environ, answers["auth"], stack)
        site.start()
        yield site


@pytest.fixture(scope="module")
def ann(site):
    return Person(site, site.auth)


@pytest.fixture(scope="module")
def ben(site):
    return Person(site, site.auth)


@pytest.fixture
def room(request):
    """A room of this test alone."""
    return request.node.originalname.removeprefix("test_")


@pytest.fixture
def visit(browser, site):
    """A function that opens a window. At the end, no console may contain an unexpected problem."""
    visits = Visits(browser, site.url)
    visits.expect_problem(ASKED)
    yield visits
    visits.check()
    visits.close()


@pytest.fixture
def windows(visit, ann, ben, room):
    """Windows of Ann and Ben, connected to one room."""
    windows = [visit(person, f"/chat/{room}/") for person in (ann, ben)]
    for window in windows:
        expect(window.status).to_have_text("Connected")
    return windows


def word(name):
    return re.compile(rf"\b{re.escape(name)}\b")


@everywhere
def test_two_windows_talk(windows, ann, ben):
    """Both show the same messages, who is there, and who is typing."""
    mine, theirs = windows
    for window in windows:
        for person in (ann, ben):
            expect(window.people).to_contain_text(word(person.name))
        expect(window.page.locator(".here li")).to_have_text(sorted([ann.name, ben.name]))
        expect(window.page.locator(".here")).to_be_visible()
    before = theirs.log.bounding_box()
    mine.box.press_sequentially("Hello")
    expect(theirs.typing).to_have_text(f"{ann.name} is typing…")
    assert theirs.log.bounding_box() == before
    line, field = theirs.typing.bounding_box(), theirs.box.bounding_box()
    assert line["y"] + line["height"] <= field["y"] - FOCUS_RING
    theirs.log.focus()
    assert theirs.log.evaluate(RING_BOTTOM) <= line["y"]
    mine.box.press("Enter")
    expect(theirs.typing).to_have_text("")
    theirs.send("<b>Hi</b>", "How are you?")
    for window in windows:
        window.sees((1, ann.name, "Hello"), (2, ben.name, "<b>Hi</b>"), (3, ben.name, "How are you?"))
    expect(mine.log.locator(".own")).to_have_count(1)
    theirs.page.close()
    expect(mine.people).not_to_contain_text(word(ben.name))


@everywhere
def test_killed_server(windows, visit, site, ann, ben):
    """The page reports the lost connection and reconnects. Messages written meanwhile arrive once."""
    visit.expect_problem(OUTAGE)
    mine, theirs = windows
    mine.send("before")
    theirs.sees((1, ann.name, "before"))
    mine.send("amid")  # stored or not, acknowledged or not
    with site.down():
        for window in windows:
            expect(window.status).to_have_text("Connection lost. Reconnecting…")
        mine.send("lost 1", "lost 2")
        theirs.send("lost 3")
        assert mine.violations() == []
    for window in windows:
        expect(window.status).to_have_text("Connected")
    transcript = mine.transcript(5)
    assert theirs.transcript(5) == transcript
    assert [number for number, _, _ in transcript] == [1, 2, 3, 4, 5]
    assert [text for _, user, text in transcript if user == ann.name] == ["before", "amid", "lost 1", "lost 2"]
    assert [text for _, user, text in transcript if user == ben.name] == ["lost 3"]


@where(*SIGNED_IN)  # Firefox's driver cuts the network for new connections only
def test_offline(windows, visit, ann):
    """Fifty messages written without a network arrive when it is back, each once and in order."""
    visit.expect_problem(OUTAGE)
    mine = windows[0]
    mine.lose_network()
    texts = [f"Message {number}" for number in range(1, 51)]
    mine.send(*texts)
    expect(mine.log.locator(".pending")).to_have_count(50)
    mine.page.context.set_offline(False)
    for window in windows:
        window.sees(*((number, ann.name, text) for number, text in enumerate(texts, 1)))
    expect(mine.status).to_have_text("Connected")


@signed_in
def test_users_of_one_name(visit, site, room):
    """Two users with the same display name are two people in the list, in the log and while they type."""
    people = [Person(site, site.auth) for _ in range(2)]
    names = [person.name for person in people]
    rename = f"User.objects.filter(username__in={names}).update(display_name='Sam')"
    site.manage("shell", "-c", f"from accounts.models import User; {rename}")
    mine, theirs = (visit(person, f"/chat/{room}/") for person in people)
    for window in (mine, theirs):
        expect(window.people).to_have_text("Here: Sam, Sam")
    theirs.box.press_sequentially("Hi")
    expect(mine.typing).to_have_text("Sam is typing…")
    theirs.box.press("Enter")
    mine.sees((1, "Sam", "Hi"))
    mine.send("Hello")
    for window, own in ((mine, "Hello"), (theirs, "Hi")):
        window.sees((1, "Sam", "Hi"), (2, "Sam", "Hello"))
        expect(window.log.locator(".own .text")).to_have_text([own])
        expect(window.log.locator(".continued")).to_have_count(0)


@contextlib.contextmanager
def connections(person, room):
    """Hold all the connections that a person may have."""
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            assert receive(stack.enter_context(person.connect(room)))["type"] == "welcome"
        yield


@in_chromium
def test_too_many_connections(visit, site, room):
    """The page reports it and comes back by itself. After a minute a button tries again."""
    visit.expect_problem(r"/api/ticket/ net::ERR_ABORTED")  # given up when ten seconds pass in one
    person = Person(site, site.auth)
    with connections(person, room):
        window = visit(person, f"/chat/{room}/")
        expect(window.status).to_have_text("Too many chats are open. Trying again…")
    expect(window.status).to_have_text("Connected")
    window.page.close()
    with connections(person, room):
        window = visit(person, "/")
        window.page.clock.install()  # before the room's script sets timers
        window.page.goto(f"/chat/{room}/")
        expect(window.status).to_have_text("Too many chats are open. Trying again…")
        button = window.page.get_by_role("button", name="Reconnect")
        while not button.is_visible():
            window.page.clock.run_for(1000)
            window.page.wait_for_timeout(100)
        expect(window.status).to_have_text("Too many chats are open. Close another one, then reconnect.")
        assert window.violations() == []
    button.click()
    expect(window.status).to_have_text("Connected")


@signed_in
def test_private_room(visit, site, ann, ben, room):
    """A member is added, talks, is removed, and reads so. A stranger finds no room."""
    path = f"/chat/~{room}/"
    visit.expect_problem("404")
    visit.expect_problem(f"{path} (net::ERR|NS_BINDING)_ABORTED")  # the request for the reason, which has no body
    owner, member, stranger = visit(ann, "/"), visit(ben, "/"), Person(site, site.auth)
    owner.page.get_by_role("link", name="New private room").click()
    owner.fill_in("Create", {"Name": room})
    expect(owner.page.get_by_role("heading", level=1)).to_have_text(f"Members of ~{room}")
    assert member.page.goto(path).status == 404
    owner.fill_in("Add", {"Username": "nobody"})
    expect(owner.page.locator(".errorlist")).to_have_text("There is no such account.")
    owner.fill_in("Add", {"Username": ben.name})
    expect(owner.page.locator("main li bdi")).to_have_text([ann.name, ben.name])

    member.page.goto("/?q=private")
    member.page.get_by_role("link", name=f"~{room}").click()
    expect(member.status).to_have_text("Connected")
    member.send("Hello")
    member.sees((1, ben.name, "Hello"))
    talking = owner.tab(path)
    talking.sees((1, ben.name, "Hello"))
    for address in (path, f"{path}messages/", f"{path}members/"):
        assert visit(stranger, "/").page.goto(address).status == 404
    with stranger.connect(f"~{room}") as socket:
        assert close_code(socket) == 4404

    owner.page.get_by_role("button", name=f"Remove {ben.name}").click()
    expect(member.status).to_have_text("You were removed from this room.")
    expect(member.page.get_by_role("link", name="Back to the rooms")).to_be_visible()
    for gone in (member.box, member.page.get_by_role("button", name="Reconnect"), member.page.locator(".here")):
        expect(gone).to_be_hidden()
    expect(member.people).to_have_text("")
    expect(talking.people).not_to_contain_text(word(ben.name))
    assert member.violations() == []
    member.page.reload()
    expect(member.status).to_have_count(0)


@where(*SIGNED_IN)
def test_edited_messages(windows, visit, site, ann, ben, room):
    """A moderated text is replaced where it stands, also for those who were offline."""
    visit.expect_problem(OUTAGE)
    staff = Person(site, site.auth)
    promote = f"User.objects.filter(username={staff.name!r}).update(is_staff=True, is_superuser=True)"
    site.manage("shell", "-c", f"from accounts.models import User; {promote}")

    def moderate(seq, text):
        found = staff.http.get("/admin/chat/message/", params={"q": f"rude-{seq}"})
        change = re.findall(r"/admin/chat/message/[0-9]+/change/", found.text)[-1]  # after a link to the last change
        fields = {"text": text, "csrfmiddlewaretoken": csrf_token(staff.http.get(change))}
        assert staff.http.post(change, data=fields).status_code == 302

    mine, theirs = windows
    theirs.send("rude-1", "rude-2", "rude-3")
    mine.transcript(3)
    moderate(1, "removed")
    for window in windows:
        window.sees((1, ben.name, "removed"), (2, ben.name, "rude-2"), (3, ben.name, "rude-3"))
    mine.lose_network()
    moderate(2, "removed too")
    theirs.send("Hello")
    mine.page.context.set_offline(False)
    for window in windows:
        window.sees(
            (1, ben.name, "removed"),
            (2, ben.name, "removed too"),
            (3, ben.name, "rude-3"),
            (4, ben.name, "Hello"),
        )
    expect(mine.log).to_have_attribute("aria-relevant", "additions")


@where(f"chromium-{FIRST}", f"firefox-{FIRST}")
def test_own_messages_are_edited_and_deleted(windows, visit, ann, ben):
    """Buttons and keys change own messages for all. A reload shows the same."""
    mine, theirs = windows
    mine.page.on("dialog", lambda dialog: dialog.accept())
    mine.page.bring_to_front()  # Firefox activates buttons by keys in one window only
    theirs.send("Hi")
    mine.transcript(1)
    mine.send("Helo", "Oops", "By")
    theirs.transcript(4)
    buttons = mine.log.get_by_role("button")
    expect(mine.messages.first.get_by_role("button")).to_have_count(0)  # of another user

    mine.box.press_sequentially("A draft")
    mine.messages.filter(has_text="Helo").hover()
    mine.messages.filter(has_text="Helo").get_by_role("button", name="Edit").click()
    expect(mine.box).to_have_value("Helo")
    expect(mine.page.get_by_text("Editing your message")).to_be_visible()
    assert mine.violations() == []
    mine.box.fill("Hello")
    mine.box.press("Enter")
    expect(mine.box).to_have_value("A draft")
    mine.box.fill("")

    mine.box.press("ArrowUp")
    expect(mine.box).to_have_value("By")
    mine.box.fill("never")
    mine.box.press("Escape")
    expect(mine.box).to_have_value("")
    mine.box.press("ArrowUp")
    mine.box.fill("Bye")
    mine.page.get_by_role("button", name="Save").click()
    expect(mine.page.get_by_role("button", name="Send")).to_be_visible()

    mine.tab_to(buttons.last, "Shift+Tab")  # "Delete" of the newest
    mine.tab_to(mine.messages.filter(has_text="Oops").get_by_role("button", name="Delete"), "ArrowUp")
    mine.page.keyboard.press("Enter")
    expect(mine.log.get_by_text("Deleted.")).to_be_visible()
    transcript = (1, ben.name, "Hi"), (2, ann.name, "Hello"), (3, ann.name, "Deleted."), (4, ann.name, "Bye")
    for window in windows:
        window.sees(*transcript)
    theirs.page.reload()
    theirs.sees(*transcript)
    for window in windows:
        expect(window.messages.filter(has=window.page.locator(".mark:visible"))).to_have_count(2)
    expect(buttons.filter(visible=True)).to_have_count(4)  # of two messages


@where(*SIGNED_IN)
def test_edit_without_a_network_is_kept(windows, visit, ann):
    """The field keeps the text, and the page shows why. It is saved once the network is back."""
    visit.expect_problem(OUTAGE)
    mine, theirs = windows
    mine.send("Helo")
    theirs.sees((1, ann.name, "Helo"))
    mine.page.context.set_offline(True)
    mine.box.press("ArrowUp")
    mine.box.fill("Hello")
    mine.box.press("Enter")
    expect(mine.page.get_by_role("alert")).to_contain_text("You are offline.")
    expect(mine.box).to_have_value("Hello")
    mine.page.context.set_offline(False)
    expect(mine.status).to_have_text("Connected")
    mine.box.press("Enter")
    expect(mine.box).to_have_value("")
    for window in windows:
        window.sees((1, ann.name, "Hello"))
    mine.page.on("dialog", lambda dialog: dialog.accept())
    mine.page.context.set_offline(True)
    mine.messages.first.hover()
    mine.messages.first.get_by_role("button", name="Delete").click()
    expect(mine.page.get_by_role("alert")).to_contain_text("You are offline.")
    mine.page.context.set_offline(False)
    expect(mine.status).to_have_text("Connected")
    mine.send("Bye")
    expect(mine.page.locator(".problem")).to_have_text("")


@once
def test_latest_edit_is_shown(windows):
    """An edit that arrives after a later one, or after a message with a later one, shows nothing."""
    shown = windows[0].page.evaluate(
        """async () => {
          const { ChatClient } = await import("/static/chat/client.js");
          const sockets = [];
          window.WebSocket = class {
            constructor() { sockets.push(this); }
            send() {}
            close() {}
          };
          const client = new ChatClient({ url: "/ws/", historyUrl: "/" });
          const shown = [];
          for (const type of ["message", "edited"]) {
            client.addEventListener(type, ({ detail: { seq, text } }) => shown.push([type, seq, text]));
          }
          client.connect();
          await new Promise((resolve) => setTimeout(resolve));
          const receive = (type, seq, text, second) => {
            const edited_at = second && `2026-01-01T12:00:0${second}.000Z`;
            sockets[0].onmessage({ data: JSON.stringify({ type, seq, text, edited_at }) });
          };
          receive("message", 1, "Helo");
          for (const [text, second] of [["Hello", 2], ["Hell", 1], ["", 4], ["Hullo", 3]]) {
            receive("edited", 1, text, second);
          }
          receive("message", 2, "Bye", 3);
          receive("edited", 2, "Bey", 2);
          receive("edited", 3, "Late", 2);
          receive("message", 3, "Lat", 1);
          client.close();
          return shown;
        }"""
    )
    assert shown == [
        ["message", 1, "Helo"], ["edited", 1, "Hello"], ["edited", 1, ""],
        ["message", 2, "Bye"],
        ["edited", 3, "Late"], ["message", 3, "Late"],
    ]  # fmt: skip


@in_chromium
def test_more_edits_than_are_sent_load_the_room_again(visit, site, ann, room):
    """After an absence the page shows the latest messages as they are stored, and loads older ones again."""
    visit.expect_problem(OUTAGE)
    site.manage(*seed(room, 120))
    mine = visit(ann, f"/chat/{room}/")
    expect(mine.status).to_have_text("Connected")
    mine.read_back_to(1)
    mine.lose_network()
    site.manage(
        "shell", "-c",
        "from chat.models import Message\n"
        f"for message in Message.objects.filter(room__name={room!r}, seq__lte=60):\n"
        "    message.text = ''; message.save()",
    )  # fmt: skip
    mine.page.context.set_offline(False)
    expect(mine.messages.first).to_have_attribute("data-seq", "71")
    assert mine.log.evaluate("log => log.scrollTop") == 0
    expect(mine.page).not_to_have_title(re.compile(r"^\("))  # nothing is new
    mine.read_back_to(1)
    texts = ["Deleted."] * 60 + [f"Message {seq}" for seq in range(61, 121)]
    assert [text for _, _, text in mine.transcript(120)] == texts


# Each text, and its links: what they show, where they lead, and the site that is named behind them.
LINKS = {
    "http://a.example": [("http://a.example", "http://a.example/", None)],
    "See https://a.example/b?c=d#e, or not.": [("https://a.example/b?c=d#e", "https://a.example/b?c=d#e", None)],
    "(https://a.example/b_(c))": [("https://a.example/b_(c)", "https://a.example/b_(c)", None)],
    '<https://a.example/>;"http://b.example:8000"': [
        ("https://a.example/", "https://a.example/", None),
        ("http://b.example:8000", "http://b.example:8000/", None),
    ],
    "HTTPS://A.EXAMPLE/x": [("HTTPS://A.EXAMPLE/x", "https://a.example/x", None)],
    "https://\u0430pple.com/": [("https://\u0430pple.com/", "https://xn--pple-43d.com/", "xn--pple-43d.com")],
    "http://2130706433/": [("http://2130706433/", "http://127.0.0.1/", "127.0.0.1")],
    "https://a.example\u202egpj.exe": [("https://a.example", "https://a.example/", None)],
    "\u202ehttps://a.example/": [("https://a.example/", "https://a.example/", None)],
    "https://bank.example@evil.example/": [],
    "https://bank.example:pass@evil.example/": [],
    "javascript:alert(1)": [],
    "javascript://a.example/%0aalert(1)": [],
    "data:text/html,<script>alert(1)</script>": [],
    "xhttps://a.example": [],
    "https://": [],
    "https://[": [],
    "https://a b": [("https://a", "https://a/", None)],
    "https://a.example/<img/src=x/onerror=alert(1)>": [("https://a.example/", "https://a.example/", None)],
}


@once
def test_links_lead_where_they_show(windows, ann):
    """Addresses become links without a referrer. Hostile texts stay texts."""
    mine, theirs = windows
    mine.send(*LINKS)
    theirs.sees(*((number, ann.name, text) for number, text in enumerate(LINKS, 1)))
    found = theirs.messages.evaluate_all(
        """items => items.map((item) => [...item.querySelectorAll(".text *")].map((link) =>
          [link.textContent, link.href, link.dataset.host ?? null]))"""
    )
    assert dict(zip(LINKS, [[tuple(link) for link in links] for links in found], strict=True)) == LINKS
    outside = theirs.log.locator("a").evaluate_all(
        "links => links.filter((link) => link.rel !== 'noopener noreferrer nofollow ugc' || link.target !== '_blank'"
        " || getComputedStyle(link).direction !== 'ltr' || getComputedStyle(link).unicodeBidi !== 'isolate')"
    )
    assert outside == []


@once
def test_hostile_addresses_take_no_time(windows):
    """A text whose end is punctuation of all kinds does not stop the page."""
    text = "https://a.example/" + "!" * 2000 + "b" + ")." * 990
    milliseconds = windows[0].page.evaluate(
        """async (text) => {
          const { linked } = await import("/static/chat/links.js");
          const start = performance.now();
          linked(text);
          return performance.now() - start;
        }""",
        text,
    )
    assert milliseconds < 100


@once
def test_other_rooms_show_what_is_new(visit, ann, ben, room):
    """Rooms that the user has read in are counted while the page is visible, beside messages and in the list."""
    visit.expect_problem("WebSocket is closed before")  # time that passes at once overtakes answers
    quiet, busy = f"{room} & quiet", f"{room} & busy"
    theirs = visit(ben, f"/chat/{quote(busy)}/")
    theirs.send("Hello")
    mine = visit(ann, f"/chat/{quote(busy)}/")
    mine.transcript(1)
    mine.page.goto("/")  # without a room
    theirs.send("One", "Two")
    theirs.transcript(3)
    page = mine.page
    page.clock.install()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/rooms/?" in request.url else None)
    page.goto(f"/chat/{quote(quiet)}/")
    link = page.get_by_role("navigation", name="Rooms").locator(f'[data-room="{busy}"]')
    expect(link.locator(".count")).to_have_text("2 new")
    assert mine.violations() == []
    theirs.send("Three")
    theirs.transcript(4)
    page.clock.run_for(11_000)
    expect(link.locator(".count")).to_have_text("3 new")
    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
    page.evaluate(hide + " document.dispatchEvent(new Event('visibilitychange')) }", True)
    before = len(asked)
    page.clock.run_for(60_000)
    assert len(asked) == before
    page.set_viewport_size({"width": 320, "height": 568})
    button = page.get_by_role("button", name="Rooms 3 new")
    expect(link).to_be_hidden()
    button.click()
    expect(link).to_be_visible()
    assert mine.overflows() == []
    other = mine.tab(f"/?q={quote(busy)}")
    expect(other.page.locator("main li .count")).to_have_text("3 new")
    link.get_by_role("link").click()
    mine.transcript(4)
    other.page.reload()
    expect(other.page.locator("main li .count")).to_be_hidden()


@once
@pytest.mark.parametrize(("prefix", "beside"), [("1 busy ", 0), ("房间" * 31, 20)], ids=["many", "long"])
def test_new_messages_of_all_listed_rooms_are_counted(visit, site, ann, room, prefix, beside):
    """A full page of the list takes several requests. Beside messages, listed rooms and those read last have counts."""
    names = [f"{prefix}{number:02}" for number in range(50)]
    rooms = f"from chat.models import Room; Room.objects.bulk_create(Room(name=name, seq=2) for name in {names})"
    site.manage("shell", "-c", rooms)
    page = visit(ann, f"/?q={quote(prefix)}").page
    read = "names => localStorage.setItem(`chat.read.${document.documentElement.dataset.userId}`,"
    page.evaluate(read + " JSON.stringify(names.map((name) => [name, 1])))", names)
    page.reload()
    expect(page.locator("main li .count")).to_have_text(["1 new"] * 50)
    page.goto(f"/chat/{room}/")
    expect(page.locator(f'[data-room="{names[beside]}"] .count')).to_have_text("1 new")
    expect(page.locator("[aria-current=page]")).to_have_text(room)


@signed_in
def test_logout_in_another_tab(visit, site, room):
    """The room reports it and offers the login, which leads back to the room and what was not sent."""
    person = Person(site, site.auth)
    window = visit(person, f"/chat/{room}/")
    expect(window.status).to_have_text("Connected")
    window.tab("/").page.get_by_role("button", name="Log out").click()
    expect(window.status).to_have_text("You are signed out.")
    window.send("Hello")
    expect(window.page.get_by_role("alert")).to_have_text("You are signed out. Log in, then send it.")
    window.page.get_by_role("button", name="Log in").click()
    window.fill_in("Log in", {"Username": person.name, "Password": PASSWORD})
    expect(window.page).to_have_url(f"{site.url}/chat/{room}/")
    expect(window.status).to_have_text("Connected")
    expect(window.box).to_have_value("Hello")


@signed_in
@pytest.mark.parametrize("same_user", [True, False])
def test_login_sends_what_was_on_its_way(visit, site, ben, room, same_user):
    """Messages that a sign-out left unsent are sent once after the next login, if it is of the same user."""
    visit.expect_problem(OUTAGE)
    visit.expect_problem(NO_TICKET)
    visit.expect_problem(r"next=/rooms/\S* (net::ERR|NS_BINDING)_ABORTED")
    person = Person(site, site.auth)
    room = f"{room}_{same_user}"
    window = visit(person, f"/chat/{room}/")
    window.send("Before")
    window.transcript(1)
    with site.down():
        expect(window.status).to_have_text("Connection lost. Reconnecting…")
        window.send("First", "Second")
        expect(window.log.locator(".pending")).to_have_count(2)
        site.end_session(cookie(person.http, "sessionid"))
    expect(window.status).to_have_text("You are signed out.")
    window.box.fill("Typed")
    window.page.get_by_role("button", name="Log in").click()
    user = person if same_user else ben
    window.fill_in("Log in", {"Username": user.name, "Password": PASSWORD})
    expect(window.status).to_have_text("Connected")
    sent, typed = (["First", "Second"], "Typed") if same_user else ([], "")
    window.sees(*((seq, person.name, text) for seq, text in enumerate(["Before", *sent], 1)))
    expect(window.box).to_have_value(typed)
    window.page.reload()
    expect(window.status).to_have_text("Connected")
    expect(window.box).to_have_value("")
    window.transcript(1 + len(sent))


@signed_in
def test_logout_leaves_nothing_in_the_browser(visit, site, room):
    """The next user of the machine finds neither names of rooms nor what was written."""
    person = Person(site, site.auth)
    window = visit(person, f"/chat/{room}/")
    window.send("Hello")
    window.transcript(1)
    window.page.evaluate("sessionStorage.setItem('a text', 'not sent')")
    assert room in window.page.evaluate(STORED)
    with window.page.expect_navigation():
        window.page.get_by_role("button", name="Log out").click()
    assert window.page.evaluate(STORED) == "{}{}"


@signed_in
def test_another_user_of_the_browser(visit, site, ann, ben, room):
    """A page that reconnects with the cookie of another user is loaded again for this user."""
    visit.expect_problem(OUTAGE)
    visit.expect_problem("/api/ticket/ (403|net::ERR_ABORTED)|status of 403")
    window = visit(ann, f"/chat/{room}/")
    expect(window.status).to_have_text("Connected")
    with site.down():
        cookies = [{"name": name, "value": value, "url": site.url} for name, value in ben.http.cookies.items()]
        window.page.context.add_cookies(cookies)
    expect(window.page.locator(".identity .user")).to_have_text(ben.name)
    expect(window.status).to_have_text("Connected")
    expect(window.people).not_to_contain_text(word(ann.name))


@signed_in
def test_expired_session(visit, site, room):
    """A page that reconnects with an expired session shows that the user is signed out."""
    visit.expect_problem(OUTAGE)
    visit.expect_problem(NO_TICKET)
    person = Person(site, site.auth)
    window = visit(person, f"/chat/{room}/")
    expect(window.status).to_have_text("Connected")
    with site.down():
        expect(window.status).to_have_text("Connection lost. Reconnecting…")
        site.end_session(cookie(person.http, "sessionid"))
    expect(window.status).to_have_text("You are signed out.")
    expect(window.page.get_by_role("button", name="Log in")).to_be_visible()
    assert window.violations() == []


@signed_in
def test_keyboard_alone(visit, site, room):
    """A user signs up, opens a room, writes and logs out without a mouse."""
    window = visit(None, "/accounts/signup/")
    page, keyboard = window.page, window.page.keyboard
    for label in ("Username", "Password", "Password confirmation"):
        window.tab_to(page.get_by_label(re.compile(f"^{label}:?$")))
        keyboard.type(f"{room}-{site.port}" if label == "Username" else PASSWORD)
    keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Rooms")
    window.tab_to(page.get_by_role("textbox"))
    keyboard.type(room)
    keyboard.press("Enter")
    expect(window.status).to_have_text("Connected")
    window.tab_to(window.box)
    keyboard.type("Hello")
    keyboard.press("Shift+Enter")
    keyboard.type("again")
    window.tab_to(page.get_by_role("button", name="Send"))
    keyboard.press("Enter")
    window.sees((1, f"{room}-{site.port}", "Hello\nagain"))
    expect(window.box).to_be_focused()
    window.tab_to(page.get_by_role("button", name="Log out"), "Shift+Tab")
    keyboard.press("Enter")
    expect(page.get_by_role("main").get_by_role("link", name="Log in")).to_be_visible()


@once
def test_rooms_are_paged_and_found(visit, ann):
    """Pages and the search of rooms work with the keyboard alone."""
    page, links = (window := visit(ann, "/?after=many")).page, window.page.locator("main li a")
    for rel, first in (("next", "many 050"), ("prev", "many 000")):
        link = page.locator(f"nav [rel={rel}]")
        link.focus()
        page.keyboard.press("Enter")
        expect(links.first).to_have_text(first)
    window.tab_to(page.get_by_role("searchbox", name="Find a room"))
    page.keyboard.type("ANY 11")
    page.keyboard.press("Enter")
    expect(links).to_have_text([f"many 11{digit}" for digit in range(10)])
    expect(page).to_have_title(re.compile("^ANY 11 · Rooms"))
    expect(page.get_by_role("searchbox")).to_have_value("ANY 11")


@once
def test_days_are_separated(visit, site, ann, room):
    """A separator precedes the first message of each day, also when older messages load later."""
    for first, last, days_ago in ((1, 60, 2), (61, 62, 1), (63, 63, 0)):
        site.manage(*seed(room, last, first, days_ago))
    window = visit(ann, f"/chat/{room}/")
    window.read_back_to(1)
    rows = window.log.locator("li.message, li.day")
    parts = rows.evaluate_all("rows => rows.map((row) => row.dataset.seq ?? 'day')")
    assert parts == ["day", *map(str, range(1, 61)), "day", "61", "62", "day", "63"]


@where(f"chromium-{FIRST}", f"firefox-{FIRST}")
def test_older_messages(visit, site, ann, room):
    """Two thousand load while the user scrolls up, each once. A reload leads to the newest."""
    site.manage(*seed(room, 2000))
    window = visit(ann, f"/chat/{room}/")
    expect(window.messages.last).to_be_in_viewport()
    assert window.messages.count() < 2000
    window.read_back_to(1)
    window.sees(*((seq, "zoe", f"Message {seq}") for seq in range(1, 2001)))
    window.page.reload()
    expect(window.messages.last).to_be_in_viewport()


@once
def test_unread_messages_are_marked(visit, site, ann, ben, room):
    """New messages move nothing while the user reads further up. A line marks the first until the user replies."""
    site.manage(*seed(room, 60))
    mine, theirs = (visit(person, f"/chat/{room}/") for person in (ann, ben))
    expect(mine.messages.last).to_be_in_viewport()
    mine.messages.first.evaluate("item => item.scrollIntoView()")
    expect(mine.messages.last).not_to_be_in_viewport()
    theirs.send("Did you see this?", "And this?")
    expect(mine.messages.last).to_have_attribute("data-seq", "62")
    expect(mine.messages.last).not_to_be_in_viewport()
    rows = mine.log.locator("li.message, li.unread")
    assert rows.evaluate_all("rows => rows.slice(-4).map((row) => row.dataset.seq ?? row.textContent)") == [
        "60",
        "New messages",
        "61",
        "62",
    ]
    mine.page.get_by_role("button", name="2 new messages").click()
    expect(mine.messages.last).to_be_in_viewport()
    mine.send("I did.")
    expect(mine.log.locator("li.unread")).to_have_count(0)


@once
def test_history_may_begin_later(windows, visit, site, ann, room):
    """If old messages were deleted, the page shows the rest and does not look for more."""
    site.manage(*seed(room, 120, 81))
    late = visit(ann, f"/chat/{room}/")
    late.sees(*((seq, "zoe", f"Message {seq}") for seq in range(81, 121)))
    late.messages.first.evaluate("item => item.scrollIntoView()")
    expect(late.page.get_by_text("Loading older messages…")).to_be_hidden()
    late.send("Hello")
    for window in (late, *windows):  # the others connected before the room was filled
        expect(window.messages.last).to_have_attribute("data-seq", "121")
        assert [seq for seq, _, _ in window.transcript(41)] == list(range(81, 122))


@once
def test_too_many_new_rooms(visit, site, room):
    """A refused message shows the reason and is not sent again."""
    person = Person(site, site.auth)
    code = f"""
from accounts.models import User
from chat.models import Room
creator = User.objects.get(username={person.name!r}).pk
Room.objects.bulk_create(Room(name=f"{person.name} {{n}}", created_by=creator) for n in range(100))"""
    site.manage("shell", "-c", code)
    window = visit(person, f"/chat/{room}/")
    window.send("Hello")
    failed = window.log.locator(".failed")
    expect(failed).to_contain_text("You may create 100 rooms a day.")
    other = window.tab(f"/chat/{person.name} 1/")
    other.send("Hello")
    other.sees((1, person.name, "Hello"))


@once
def test_narrow_phone(visit, ann, room):
    """The text field of a long conversation is in sight on a screen of 320 pixels."""
    window = visit(ann, f"/chat/{room}/", viewport={"width": 320, "height": 568})
    window.send("W" * 400, "https://example.org/" + "path/" * 40)
    window.transcript(2)
    expect(window.box).to_be_in_viewport(ratio=1)
    assert window.overflows() == []


@once
def test_dark_and_light(visit, ann, room):
    """The page follows the colour scheme of its reader."""
    brightness = {}
    for scheme in ("dark", "light"):
        window = visit(ann, f"/chat/{room}/", color_scheme=scheme)
        for role in ("color", "backgroundColor"):
            colour = window.page.locator("body").evaluate(f"body => getComputedStyle(body).{role}")
            brightness[scheme, role] = sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3 / 255
    assert brightness["dark", "backgroundColor"] < 0.2 < 0.7 < brightness["dark", "color"]
    assert brightness["light", "color"] < 0.3 < 0.9 < brightness["light", "backgroundColor"]


@once
def test_right_to_left_text(windows):
    """Hebrew and Arabic run from the right, in own and in other messages."""
    for window in windows:
        window.send("שלום, מה שלומך?", "مرحبا (hello)", "Hello!")
    texts = windows[0].messages.locator(".text")
    expect(texts).to_have_count(6)
    directions = texts.evaluate_all("texts => texts.map((text) => getComputedStyle(text).direction)")
    assert sorted(directions) == ["ltr"] * 2 + ["rtl"] * 4


class WithoutUpgrade(BaseHTTPRequestHandler):
    """Proxy that drops the headers Upgrade and Connection, as nginx does by default."""

    def do_GET(self):
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"connection", "upgrade"}}
        body = self.rfile.read(int(headers.get("Content-Length", 0)))
        answer = httpx.request(
            self.command, f"{self.server.site}{self.path}", headers=headers, content=body, trust_env=False
        )
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.end_headers()
        self.wfile.write(answer.content)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@once
def test_proxy_without_upgrade(visit, site, ann, room):
    """The console names the proxy, and not the origin, if a proxy drops Upgrade."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WithoutUpgrade) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        visit.url = f"http://127.0.0.1:{proxy.server_port}"
        environ = {**site.environ, "ALLOWED_ORIGINS": visit.url}
        with start_site(["uv", "run", "python", "manage.py", "serve"], site.project, environ) as other:
            proxy.site = other.url
            visit.expect_problem("WebSocket|Upgrade")
            window = visit(ann, "/")
            with window.page.expect_console_message(lambda message: "Upgrade" in message.text) as console:
                window.page.goto(f"/chat/{room}/")
            assert "It allows this origin. Its log names the reason, unless a proxy drops" in console.value.text
            window.page.close()
        proxy.shutdown()


@once
def test_wrong_origin(visit, site, ann, room):
    """The console and the log name the origin and the setting that lacks it."""
    environ = {**site.environ, "ALLOWED_ORIGINS": "http://chat.example"}
    with start_site(["uv", "run", "python", "manage.py", "serve"], site.project, environ) as other:
        visit.url = other.url
        visit.expect_problem("WebSocket connection|ALLOWED_ORIGINS")
        window = visit(ann, f"/chat/{room}/")
        with window.page.expect_console_message(lambda message: "ALLOWED_ORIGINS" in message.text) as console:
            pass
        assert console.value.text == f"The server refused the WebSocket handshake. Add {other.url} to ALLOWED_ORIGINS."
        assert f"event=origin_refused origin={other.url} setting=ALLOWED_ORIGINS " in other.log.read_text()
