"""Every page of an emitted site, filled as its users fill it."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Response, expect
from websockets.sync.client import ClientConnection

from support.browsers import Visits, Window
from support.client import Person, receive, send
from support.emitted import run
from support.matrix import Answers, apps_of
from support.servers import Site

MANAGE = ["uv", "run", "python", "manage.py"]
ANN, BEN, STRANGER = "ann", "ben", ""  # a member of staff, another user, and a visitor who is not signed in


@dataclass(frozen=True)
class Page:
    """Look of a page: its reader, an element of it once scripts have run, and the fields of a form that leads to it."""

    name: str
    route: str
    path: str
    reader: str = ANN
    ready: str = "h1"
    fields: dict[str, str] = field(default_factory=dict)  # by name, because labels are translated
    status: int = 200


CONNECTED = "[role=status][data-status=open]"
WRONG_SIGN_UP = {"username": "a b", "password1": "1", "password2": "2"}
NO_LOGIN = {"username": "nobody", "password": "wrong"}
LOCALIZED = ".notifications time:not(:text('-'))"

# Pages of each part of a project. A page that is missing here fails test_pages.py by the name of its route.
PAGES = {
    "config": [Page("home", "home", "/")],
    "accounts": [
        Page("start", "home", "/", STRANGER),
        Page("login", "login", "/accounts/login/", STRANGER),
        Page("login-wrong", "login", "/accounts/login/", STRANGER, ".errorlist", NO_LOGIN),
        Page("sign-up", "signup", "/accounts/signup/", STRANGER),
        Page("sign-up-wrong", "signup", "/accounts/signup/", STRANGER, ".errorlist", WRONG_SIGN_UP),
        Page("password-reset", "password_reset", "/accounts/password_reset/", STRANGER),
        Page("password-reset-done", "password_reset_done", "/accounts/password_reset/done/", STRANGER),
        Page("password-reset-new", "password_reset_confirm", "/accounts/reset/{reset}/", STRANGER, "[type=password]"),
        Page("password-reset-wrong", "password_reset_confirm", "/accounts/reset/x/y/", STRANGER),
        Page("password-reset-complete", "password_reset_complete", "/accounts/reset/done/"),
        Page("account", "account", "/accounts/"),
        Page("account-wrong", "account", "/accounts/", ANN, ".errorlist", {"current_password": "wrong"}),
        Page("password-change", "password_change", "/accounts/password_change/"),
        Page("password-changed", "password_change_done", "/accounts/password_change/done/"),
    ],
    "tokens": [
        Page("tokens", "tokens", "/accounts/tokens/"),
        Page("tokens-none", "tokens", "/accounts/tokens/", BEN),
        Page("tokens-new", "tokens", "/accounts/tokens/", ANN, "[role=status]", {"name": "Test"}),
    ],
    "chat": [
        Page("rooms-found", "home", "/?q=ca"),
        Page("rooms-none", "home", "/?q=nowhere"),
        Page("rooms-more", "home", "/?after=café"),
        Page("rooms-wrong", "home", "/?room=a/b", ANN, "[role=alert]"),
        Page("room", "room", "/chat/lobby/", ANN, CONNECTED),
        Page("room-empty", "room", "/chat/quiet/", ANN, CONNECTED),
        Page("room-quoted", "room", '/chat/"<b>&amp;/', ANN, CONNECTED),
        Page("room-hebrew", "room", "/chat/שלום/", ANN, CONNECTED),
    ],
    "members": [
        Page("room-private", "room", "/chat/~harbour/", ANN, CONNECTED),
        Page("new-room", "new_room", "/private/"),
        Page("new-room-wrong", "new_room", "/private/", ANN, ".errorlist", {"name": "a/b"}),
        Page("members", "members", "/chat/~harbour/members/"),
        Page("members-wrong", "members", "/chat/~harbour/members/", ANN, ".errorlist", {"user": "?"}),
    ],
    "notifications": [
        Page("notifications", "notifications", "/notifications/", ANN, LOCALIZED),
        Page("notifications-none", "notifications", "/notifications/?q=nothing"),
        Page("notifications-empty", "notifications", "/notifications/", BEN),
    ],
    "jobs": [
        Page("jobs", "jobs", "/jobs/", ANN, ".steps-done li"),
        Page("jobs-empty", "jobs", "/jobs/", BEN, ".jobs[data-status=open]"),
    ],
    "assistant": [
        Page("assistant", "conversations", "/assistant/"),
        Page("assistant-empty", "conversations", "/assistant/", BEN),
        Page("conversation", "conversation", "/assistant/{conversation}/", ANN, CONNECTED),
        Page("conversation-empty", "conversation", "/assistant/{empty_conversation}/", ANN, CONNECTED),
    ],
    "dashboard": [Page("dashboard", "dashboard", "/dashboard/", ANN, "figure:nth-of-type(7) path[d*=L]")],
    "devices": [
        Page("devices", "devices", "/devices/", ANN, "[data-device]"),
        Page("device", "device", "/devices/roof/", ANN, ".chart path[d*=L]"),
        Page("device-of-others", "device", "/devices/cellar/", BEN, ".chart path[d*=L]"),
    ],
}
# Routes that answer with a redirect or with data.
NO_PAGES = {
    *("logout", "revoke-token", "token", "ticket"),
    *("messages", "remove_member", "room_numbers"),
    *("read_notifications", "notification"),
    *("cancel_job", "retry_job", "delete_conversation", "command_device"),
    *("healthz", "readyz", "metrics", "translations"),
    "error",  # shows the pages of errors that there are
}

# Names of the routes, and patterns of routes without a name. The admin is Django's.
ROUTES = """
import json
from django.urls import URLPattern, get_resolver
def names(patterns, prefix=""):
    for one in patterns:
        if isinstance(one, URLPattern):
            yield one.name or prefix + str(one.pattern)
        elif one.namespace != "admin":
            yield from names(one.url_patterns, prefix + str(one.pattern))
print(json.dumps(sorted(set(names(get_resolver().url_patterns)))))
"""

# Pages of errors, by the handlers of the site.
ERRORS = """
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.middleware.csrf import REASON_NO_CSRF_COOKIE
from django.urls import get_resolver
from django.views.csrf import csrf_failure

from realtime.auth.throttle import TooManyRequests


@login_not_required
def error(request, name):
    match name:
        case "403_csrf":
            return csrf_failure(request, REASON_NO_CSRF_COOKIE)
        case "429":
            raise TooManyRequests(90)
        case "500":
            return get_resolver().resolve_error_handler(500)(request)
    fault = {"400": ValueError(), "403": PermissionDenied(), "404": Http404()}[name]
    return get_resolver().resolve_error_handler(int(name))(request, fault)


urlpatterns.append(path("errors/<name>/", error, name="error"))
"""

FILLS = {
    "config": """
import json
from datetime import timedelta
from django.utils import timezone
made, now = {}, timezone.now()
""",
    "accounts": """
from accounts.models import User
from django.contrib.auth.tokens import default_token_generator
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
for name, login in names.items():
    User.objects.filter(username=login).update(display_name=name, is_staff=name == "ann")
users = {name: User.objects.get(username=login) for name, login in names.items()}
reset = urlsafe_base64_encode(force_bytes(users["ben"].pk)), default_token_generator.make_token(users["ben"])
made["reset"] = "/".join(reset)
""",
    "tokens": """
from accounts.tokens import issue_token
for name in ("Thermometer in the cellar", "Backup"):
    issue_token(users["ann"], name)
""",
    "chat": """
from chat.models import Message, Room
TALKS = {
    "lobby": [
        ("ann", "Who is in for the harbour tomorrow? The boats leave at ten."),
        ("ben", "Me! I will bring the bread."),
        ("ann", "Great. Coffee is on me."),
        ("zoe", "Here is the timetable: https://example.org/boats?day=saturday"),
        ("ben", "Then we lack nothing but the sun ☀️"),
    ],
    "שלום": [("ann", "שלום! מישהו רוצה קפה?"), ("ben", "כן, בשמחה ☕"), ("ann", "ניפגש ב-Café Nordlicht בעשר")],
    "café": [("ben", "A table for two at noon?")],
    "кухня": [("zoe", "Борщ готов!")],
    "garden": [("zoe", "The tomatoes need water.")] * 12,
    "release 1.0": [("ben", "All checks are green.")] * 3,
    "~harbour": [("ben", "Ten o'clock at the pier.")],
}
for name, talk in TALKS.items():
    room = Room.objects.create(name=name, seq=len(talk))
    Message.objects.bulk_create(
        Message(
            room=room,
            seq=seq,
            user_id=ids.get(user, user),
            user_name=user,
            ref=str(seq),
            text=text,
            at=now - timedelta(days=int(seq < 3), minutes=5 * (len(talk) - seq)),
        )
        for seq, (user, text) in enumerate(talk, 1)
    )
""",
    "members": """
from chat.models import Member
for name, user in users.items():
    Member.objects.create(room=room, user=user, is_owner=name == "ann")
""",
    "notifications": """
from notifications.models import Notification
from notifications.notify import notify
for text in ("Your report is ready.", "zoe mentioned you in lobby.", "ben added you to ~harbour."):
    notify(users["ann"], text, "/jobs/")
Notification.objects.filter(text__startswith="Your").update(read_at=now, created_at=now - timedelta(days=1))
""",
    "jobs": """
from realtime.work.context import JobContext
from realtime.work.queue import start
from realtime.work.testing import run_all
from jobs.tasks import feed_of, prepare_report
JobContext.sleep = lambda *_: None
own = {"user_id": ids["ann"], "user_name": "ann", "feed": feed_of(ids["ann"])}
start(prepare_report, {"chapters": 5}, **own)
run_all()
from realtime.work.models import Job
states = (("failed", 0.4, "The printer is out of paper."), ("running", 0.75, ""), ("waiting", 0, ""))
for state, progress, reason in states:
    job, _ = start(prepare_report, {"chapters": 4}, **own)
    Job.objects.filter(pk=job.pk).update(state=state, progress=progress, reason=reason, locked_until=now + timedelta(1))
""",
    "assistant": """
from assistant import scripted
from assistant.models import Conversation
from assistant.questions import ask, new_conversation
from realtime.work.testing import run_all
scripted.PIECE_SECONDS = 0
for questions in (["Hello!"], ["What are channels?", "Who writes the weather report?"]):
    conversation = new_conversation(ids["ann"], "ann")
    for number, text in enumerate(questions):
        ask(conversation, str(number), text)
        run_all()
made["conversation"] = conversation.pk
made["empty_conversation"] = new_conversation(ids["ann"], "ann").pk
""",
    # Figures of five minutes before now, for charts that are full.
    "dashboard": """
from math import sin
from dashboard.events import FEED, KEPT, figures_event
from realtime.feeds.events import append
for second in range(KEPT, 1, -1):
    wave = sin(second / 23) + sin(second / 7) / 3
    values = (40 + 12 * wave, 90 + 60 * wave * sin(second), 0.8 + 0.3 * sin(second * second), 5, 5, 2 + 2 * wave, 4)
    event = figures_event()
    event["at"] = (timezone.now() - timedelta(seconds=second)).isoformat()
    event["values"] = {label: max(0, round(value)) for label, value in zip(event["values"], values)}
    append(FEED, event)
""",
    # Devices with five minutes of readings, and commands to one of them.
    "devices": """
from math import sin
from devices.commands import send_command
from devices.messages import AnswerMessage, ReadingMessage, StatusMessage
from devices.models import Device
from devices.storing import store_messages
for place, name in enumerate(["boiler", "cellar", "greenhouse", "harbour", "roof", "workshop"]):
    waves = [sin(second / 40 + place) + sin(second * second) / 12 for second in range(300)]
    store_messages([ReadingMessage(name, n, round(20 + 3 * wave, 2), None) for n, wave in enumerate(waves, 1)])
    store_messages([StatusMessage(name, name != "cellar")])
roof = Device.objects.get(name="roof")
for text, *answers in (("open window", "", "Open"), ("measure twice", ""), ("close window",)):
    command = send_command(roof, text, "ann")
    store_messages([AnswerMessage(roof.name, command.pk, answer) for answer in answers])
""",
}
# The longest words and the most rows that users can make.
STRAINS = {
    "accounts": "User.objects.filter(pk=users['ann'].pk).update(display_name='W' * 150)",
    "tokens": "issue_token(users['ann'], 'W' * 100)",
    "chat": """
Room.objects.bulk_create(Room(name=f"many {n:03}") for n in range(120))
Room.objects.create(name="W" * 64)
for seq, text in enumerate(("W" * 400, "https://example.org/" + "path/" * 40), len(TALKS["lobby"]) + 1):
    room = Room.objects.get(name="lobby")
    Message.objects.create(room=room, seq=seq, user_id="w", user_name="W" * 150, ref=str(seq), text=text)
    Room.objects.filter(pk=room.pk).update(seq=seq)
""",
    "notifications": "notify(users['ann'], 'W' * 500)",
    "jobs": "Job.objects.filter(state='failed').update(reason='W' * 500)",
    "assistant": """
from realtime.work.testing import run_all
conversation.turns.update(question="W" * 1000, answer="W" * 1000)
Conversation.objects.exclude(pk=conversation.pk).exclude(title="").update(title="W" * 80)
""",
    "devices": """
store_messages([StatusMessage("W" * 64, True), ReadingMessage("W" * 64, 1, -9.87654321098765e299, None)])
store_messages([ReadingMessage("roof", 999, -9.87654321098765e299, None)])
for text in ("W" * 1000, "word " * 200):
    command = send_command(roof, text.strip(), "ann")
    store_messages([AnswerMessage("roof", command.pk, text.strip())])
""",
}


def parts(answers: Answers) -> list[str]:
    """Return the parts of a project that have pages, in the order in which they are filled."""
    own = {"config", *{"session": ["accounts"], "token": ["accounts", "tokens"], "none": []}[answers["auth"]]}
    own.update(apps_of(answers))
    if {"accounts", "chat"} <= own:
        own.add("members")
    return [part for part in PAGES if part in own]


def pages_of(answers: Answers) -> list[Page]:
    """Return the pages of a project, without those of errors."""
    return [page for part in parts(answers) for page in PAGES[part]]


def add_errors(project: Path) -> list[Page]:
    """Let a project show its pages of errors at paths of their own. Return the pages that it has."""
    with (project / "config" / "urls.py").open("a", encoding="utf-8") as file:
        file.write(ERRORS)
    templates = sorted({path.stem for path in project.glob("**/templates/[45]*.html")})
    return [Page(f"error-{name}", "error", f"/errors/{name}/", status=int(name[:3])) for name in templates]


class Showcase:
    """Emitted site with content, and its readers. `strained` adds the longest words that users can write."""

    def __init__(
        self,
        site: Site,
        project: Path,
        environ: dict[str, str],
        answers: Answers,
        *,
        strained: bool = False,
        manage: Sequence[str] = MANAGE,
    ) -> None:
        self.people = {name: Person(site, answers["auth"]) for name in (ANN, BEN)}
        self.site = site
        self.ben: ClientConnection | None = None
        self.pages = pages_of(answers)
        logins = {name: person.name for name, person in self.people.items()}
        code = [f"names = {logins!r}"]
        if "chat" in parts(answers):
            ids = {name: user_id(person) for name, person in self.people.items()}
            code.append(f"ids = {ids!r}")
        for fills in (FILLS, STRAINS) if strained else (FILLS,):
            code += [fills.get(part, "") for part in parts(answers)]
        code.append("print('\\n' + json.dumps(made))")
        shell = [*manage, "shell", "--verbosity", "0", "--no-imports", "-c"]
        self.made = json.loads(run([*shell, "\n".join(code)], project, environ).splitlines()[-1])
        self.routes = set(json.loads(run([*shell, ROUTES], project, environ)))

    def windows(
        self, visits: Visits, readers: Sequence[str] = (ANN, BEN, STRANGER), **options: object
    ) -> dict[str, Window]:
        """Open a window for each reader."""
        return {name: visits(self.people.get(name), "about:blank", **options) for name in readers}

    def show(self, window: Window, page: Page) -> Response:
        """Open a page in a window of its reader, and wait until it is ready. Return the document."""
        response = window.page.goto(page.path.format(**self.made))
        for name, value in page.fields.items():
            window.page.locator(f"[name={name}]").fill(value)
        if page.fields:
            with window.page.expect_navigation() as navigation:
                window.page.locator(f"form:has([name={name}]) button").click()
            response = navigation.value
        expect(window.page.locator(page.ready).first).to_be_attached()
        if page.name == "room" and self.ben:
            send(self.ben, type="typing")
            expect(window.typing).not_to_be_empty()
        return response

    @contextlib.contextmanager
    def company(self) -> Iterator[None]:
        """Let Ben be in the room, and type whenever its page is shown, until the block ends."""
        with self.people[BEN].connect("lobby") as self.ben:
            receive(self.ben)
            yield
        self.ben = None


def user_id(person: Person) -> str:
    with person.connect("lobby") as connection:
        return receive(connection)["user_id"]
