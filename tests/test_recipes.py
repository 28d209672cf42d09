"""Recipes of docs/recipes/ are applied as written, and their results are tested."""

import base64
import re
import threading

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import Visits, find_browser, launch
from support.client import PASSWORD, Person, cookie, csrf_token, receive, send
from support.emitted import FAST, bake, clean_environ, environ_for, run
from support.matrix import CHOICES, PYTHONS, combinations, covering, label, spread
from support.models import language_model
from support.pages import JWTS, MODEL, RECIPES, TESTS, commands, recipes
from support.servers import start_site

from demo import find_python

PYTHON = ["uv", "run", "python"]
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
POLYGLOT = b"GIF89a=1;document.title='run'"  # begins like an image, and is a script

# Both styles of consumers, all sign-ins, both layers and databases, each server. The recipe applied first shows that it
# needs no other. Of the remaining ones, two change few lines and add files, and one needs accounts. The last
# combination has none, so the recipes that need them come first.
LATER = {"add-a-consumer", "add-an-app-by-hand", "send-files", "sign-in-by-email"}
FIRST = [recipe for recipe in reversed(RECIPES) if recipe not in LATER]
COMBINATIONS = [
    (answers.pop("first"), answers)
    for answers in spread(combinations("server"), "channel_layer", "consumers", "auth", "database", first=FIRST)
]


def follow(recipe, project, environ, skip=()):
    """Run the commands of a page in order. Answer yes to the question of one of them."""
    for command in commands((project / "docs" / "recipes" / f"{recipe}.md").read_text(encoding="utf-8")):
        if command not in skip:
            run(["sh", "-c", f"echo y | ({command})"], project, environ)


def lint(project, environ):
    """Run `make lint`, and check that no migration is missing."""
    run(["make", "lint"], project, environ)
    run([*PYTHON, "manage.py", "makemigrations", "--check"], project, environ)


def see_renamed(site, ann, bob):
    """Check that the first page lists the earlier room as a table."""
    page = ann.http.get("/").text
    assert re.search(r"<h1>\s*Tables", page)
    assert "attic" in page


def see_field(site, ann, bob):
    """Check that an important message is important for others, also later, and an ordinary one is not."""
    with ann.connect("lobby") as one, bob.connect("lobby") as other:
        assert [receive(one)["type"], receive(other)["type"]] == ["welcome", "welcome"]
        send(one, type="send", ref="a1", text="Fire!", important=True)
        send(one, type="send", ref="a2", text="Thanks.")
        heard = [receive(other), receive(other)]
        assert [(event["text"], event["important"]) for event in heard] == [("Fire!", True), ("Thanks.", False)]
        assert bob.history("lobby")["messages"][-2:] == heard
        send(one, type="edit", ref="a3", seq=heard[0]["seq"], text="")
        assert receive(other)["type"] == "edited"
    deleted = bob.history("lobby")["messages"][-2]
    assert (deleted["text"], deleted["important"]) == ("", False)


def see_consumer(site, ann, bob):
    """Check that a roll of one user shows the same value on both pages, after a note."""
    with sync_playwright() as playwright, launch(playwright, "firefox") as browser:
        visits = Visits(browser, site.url)
        one, other = (visits(person, "/dice/").page for person in (ann, bob))
        for page in (one, other):
            expect(page.get_by_role("status")).to_have_text("Connected.")
        one.get_by_role("textbox", name="Note").fill("luck")
        one.get_by_role("button", name="Send").click()
        one.get_by_role("button", name="Roll").click()
        rolled = re.compile(rf"^{re.escape(ann.name)}: rolled [1-6]$")
        for page in (one, other):
            expect(page.get_by_role("listitem")).to_have_text([f"{ann.name}: luck", rolled])
        assert one.get_by_role("log").text_content() == other.get_by_role("log").text_content()
        visits.check()
        visits.close()


def see_button(site, ann, bob):
    """Check that a press of one user is shown on the other's page."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        visits = Visits(browser, site.url)
        one, other = (visits(person, "/button/").page for person in (ann, bob))
        for page in (one, other):
            expect(page.get_by_role("status")).to_have_text("Connected.")
        one.get_by_role("button", name="Press").click()
        expect(other.get_by_role("status")).to_have_text(f"{ann.name} pressed the button.")
        visits.check()
        visits.close()


def see_files(site, ann, bob):
    """Check that an image reaches others and a browser shows it, and that nothing else is taken or run."""

    def post(content, name, person=ann):
        headers = {"X-CSRFToken": cookie(person.http, "csrftoken")}
        return person.http.post("/chat/gallery/files/", files={"file": (name, content)}, headers=headers).status_code

    ann.http.get("/chat/gallery/")
    attacks = {
        b"<script>alert(1)</script>": "cat.png",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>": "cat.svg",
        b"MZ": "cat.png.exe",
        b"": "empty.png",
    }
    assert [post(*attack) for attack in attacks.items()] == [400] * 4
    assert post(PICTURE.ljust(10 * 1024**2, b"x"), "large.png") == 413
    with bob.connect("gallery") as socket:
        assert receive(socket)["type"] == "welcome"
        assert post(PICTURE.ljust(4_900_000, b"\0"), "../../cat.html") == 201
        assert post(POLYGLOT, "script.js") == 201
        heard = [receive(socket) for _ in range(2)]
    assert [(event["seq"], event["text"], event["file"]) for event in heard] == [
        (1, "cat.html", "png"),
        (2, "script.js", "gif"),
    ]
    answer = bob.http.get("/chat/gallery/files/2/")
    assert (answer.content, answer.headers["content-type"]) == (POLYGLOT, "image/gif")
    policy, kind = answer.headers["content-security-policy"], answer.headers["x-content-type-options"]
    assert (policy, kind, answer.headers["cache-control"]) == ("default-src 'none'; sandbox", "nosniff", "no-store")
    others = ("3/", "..%2f1/", f"{9**99}/")
    assert [bob.http.get(f"/chat/gallery/files/{path}").status_code for path in others] == [404] * 3
    stranger = httpx.get(f"{site.url}/chat/gallery/files/1/", trust_env=False)
    assert stranger.status_code == (200 if ann.auth == "none" else 302)
    if ann.auth == "session":
        see_picture(site, ann, bob)


def see_picture(site, ann, bob):
    """Check that the page sends a file with its text and shows pictures, and that none of them is run as a script."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        visits = Visits(browser, site.url)
        one, other = (visits(person, "/chat/gallery/") for person in (ann, bob))
        expect(other.messages).to_have_count(2)
        one.box.fill("My cat")
        one.page.get_by_label("File").set_input_files({"name": "cat.png", "mimeType": "", "buffer": PICTURE})
        for window in (one, other):
            picture = window.messages.last.get_by_role("img", name="My cat")
            expect(picture).to_have_js_property("naturalWidth", 1)
        expect(one.box).to_have_value("")
        assert one.violations() == []
        visits.expect_problem("files/2/|400")
        one.page.get_by_label("File").set_input_files({"name": "cat.png", "mimeType": "", "buffer": b"<html>"})
        expect(one.page.get_by_role("alert")).to_contain_text("Send a PNG")
        run_as_script = """() => new Promise((resolve) => {
          const script = document.createElement("script");
          script.onload = () => resolve("run");
          script.onerror = () => resolve("refused");
          script.src = "files/2/";
          document.head.append(script);
        })"""
        assert (one.page.evaluate(run_as_script), one.page.title()) == ("refused", other.page.title())
        visits.check()
        visits.close()


def see_view(site, ann, bob):
    """Check that members receive what staff post and a command sends, and that other users cannot post."""
    headers = {"Origin": site.url, "Referer": f"{site.url}/"}
    options = {"base_url": site.url, "headers": headers, "trust_env": False, "timeout": 30}
    with ann.connect("hall") as one, httpx.Client(**options) as staff:
        assert receive(one)["type"] == "welcome"
        fields = {"username": ann.login_of("boss"), "password": PASSWORD}
        token = csrf_token(staff.get("/admin/login/"))
        assert staff.post("/admin/login/", data={**fields, "csrfmiddlewaretoken": token}).status_code == 302

        def announce(person):
            headers = {"X-CSRFToken": cookie(person, "csrftoken")}
            return person.post("/chat/hall/announce/", data={"text": "We close at ten."}, headers=headers)

        assert announce(staff).status_code == 201
        heard = receive(one)
        assert (heard["seq"], heard["user"], heard["text"]) == (1, "The site", "We close at ten.")
        assert announce(ann.http).headers["location"].startswith("/admin/login/")
        site.run('uv run python manage.py announce hall "We open at six."')
        heard = receive(one)
        assert (heard["seq"], heard["user"], heard["text"]) == (2, "The site", "We open at six.")


def see_addresses(site, ann, bob):
    """Check that a person logs in by address, and others see the name only."""
    page = ann.http.get("/accounts/signup/")
    assert 'name="email"' in page.text
    with ann.connect("attic") as one, bob.connect("attic") as other:
        welcome = receive(one)
        assert welcome["user"] == ann.name
        assert receive(other)["type"] == "welcome"
        send(one, type="send", ref="address", text="hi")
        while (event := receive(other)).get("ref") != "address":
            pass
    assert (event["user"], event["user_id"]) == (ann.name, welcome["user_id"])
    for path in ("/", "/chat/attic/", "/chat/attic/messages/"):
        assert ann.login_of(ann.name) not in bob.http.get(path).text


SEEN = (see_renamed, see_field, see_consumer, see_button, see_files, see_view, see_addresses)
SEE = dict(zip(RECIPES, SEEN, strict=True))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "answers"), COMBINATIONS, ids=[label(answers) for _, answers in COMBINATIONS])
def test_recipes_work(first, answers, cookies, environment, services):
    """Linters and tests pass after the first recipe and after all, and a running site has all of them."""
    project = bake(cookies, **answers)
    variables = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, **FAST, **services(answers)}
    environ = environ_for(environment(PYTHONS[answers["consumers"] == "sync"], "6.1"), **variables)
    run([*PYTHON, "manage.py", "migrate"], project, environ)
    if answers["auth"] != "none":
        account = ["--username=boss", "--email=boss@example.com"]
        run([*PYTHON, "manage.py", "createsuperuser", "--no-input", *account], project, environ)
    store = "from chat.models import Draft, store_message; store_message(Draft('attic', '1', 'eve', 'e1', 'hi'))"
    run([*PYTHON, "manage.py", "shell", "-c", store], project, environ)

    follow(first, project, environ)
    lint(project, environ)
    for recipe in recipes(answers["auth"]):
        if recipe != first:
            follow(recipe, project, environ)
    lint(project, environ)
    with start_site([*PYTHON, "manage.py", "serve"], project, environ) as site:
        site.run = lambda command: run(["sh", "-c", command], project, environ)
        by_email = answers["auth"] != "none"
        ann, bob = [Person(site, answers["auth"], by_email=by_email) for _ in range(2)]
        for recipe in recipes(answers["auth"]):
            SEE[recipe](site, ann, bob)
    if first == FIRST[0]:  # with all tests once, in the order of the page
        for command in commands((project / "AGENTS.md").read_text(encoding="utf-8")):
            if command not in {"make setup", "make dev", "make lint"}:
                run(command.split(), project, environ, timeout=400)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "answers",
    spread(combinations("database"), "auth", "channel_layer", "consumers", "django_version", "server"),
    ids=label,
)
def test_rooms_take_fields_of_ones_own(answers, cookies, environment, services):
    """A field of a room needs a default for Python only, as elsewhere in Django. New rooms have it."""
    project = bake(cookies, **answers)
    environ = environ_for(environment(PYTHONS[-1], answers["django_version"]), **services(answers))
    models = project / "chat" / "models.py"
    field = '    topic = models.CharField(max_length=200, blank=True, default="chat")\n'
    place = "    created_by = models"
    models.write_text(models.read_text(encoding="utf-8").replace(place, field + place, 1), encoding="utf-8")
    run([*PYTHON, "manage.py", "makemigrations", "chat"], project, environ)
    run([*PYTHON, "manage.py", "migrate", "--verbosity", "0"], project, environ)
    store = (
        "from chat.models import *; store_message(Draft('lobby', '1', 'ann', 'a1', 'hi')); "
        "print(Room.objects.get().topic, Room.objects.get().created_by_name)"
    )
    output = run([*PYTHON, "manage.py", "shell", "--verbosity=0", "-c", store], project, environ)
    assert output.splitlines()[-1] == "chat ann"


@pytest.mark.parametrize("auth", [auth for auth in CHOICES["auth"] if auth != "none"])
def test_jwts_open_sockets_until_they_expire(auth, cookies):
    """The recipe adds its packages, and its own test sees the socket close at `exp`. Nothing else breaks."""
    project = bake(cookies, auth=auth)
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **FAST)
    run(["make", "setup"], project, environ)
    follow(JWTS, project, environ)
    run(["make", "lint"], project, environ)
    run(["uv", "run", "pytest", "accounts"], project, environ)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("answers", covering("auth", "consumers"), ids=label)
def test_tests_of_the_recipe_pass(answers, cookies):
    """A consumer, its server and its page pass, with the browser of the system in place of a downloaded one."""
    project = bake(cookies, **answers)
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **FAST)
    run(["make", "setup"], project, environ)
    test = "uv run pytest tests/test_distances.py"
    follow(TESTS, project, environ, skip=["uv run playwright install chromium", test])
    run(["make", "lint"], project, environ)
    path = project / "tests" / "test_distances.py"
    launch = f"chromium.launch(executable_path={find_browser('chromium')!r})"
    path.write_text(path.read_text(encoding="utf-8").replace("chromium.launch()", launch), encoding="utf-8")
    assert "4 passed" in run(test.split(), project, environ)


@pytest.mark.timeout(900)
def test_language_model_answers(cookies):
    """The recipe adds a library, which speaks to a local server by HTTP in the provider's format. A key stays secret.

    The server stands in for the provider: this proves the connection, and nothing about a model.
    """
    key = "sk-ant-api03-secret"
    project = bake(cookies, examples="all")
    with language_model() as service, sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        environ = clean_environ(
            UV_PYTHON=find_python(PYTHONS[-1]), ANTHROPIC_BASE_URL=service.url, ANTHROPIC_API_KEY=key, **FAST
        )
        run(["make", "setup"], project, environ)
        follow(MODEL, project, environ)
        lint(project, environ)
        run(["uv", "run", "pytest", "assistant"], project, environ)
        with start_site([*PYTHON, "manage.py", "runserver"], project, environ) as site:
            visits = Visits(browser, site.url)
            page = visits(Person(site, "session"), "/assistant/").page
            page.get_by_role("button", name="New conversation").click()

            def ask(question, *answers):
                service.answers += answers
                page.get_by_role("textbox", name="Question").fill(question)
                page.get_by_role("button", name="Ask").click()

            def see(answer, state):
                expect(page.locator(".state").last).to_have_text(state)
                expect(page.locator(".answer").last).to_have_text(answer, use_inner_text=True)

            ask("How are you?", ["Fine, ", "thanks 👋"])
            see("Fine, thanks 👋", "")
            ask("And now?", ["Still", None])
            see("Still", "The model did not answer. Try again later.")
            service.answers.append([" fine.", silence := threading.Event()])
            page.get_by_role("button", name="Retry").click()
            see("Still fine.", "Answering…")
            page.get_by_role("button", name="Stop").click()
            see("Still fine.", "Stopped.")
            silence.set()
            service.answers += [(429, "rate_limit_error")] * 3  # the library tries again twice
            page.get_by_role("button", name="Continue").click()
            see("Still fine.", "The model has too much to do. Try again later.")
            ask("Why?", (401, "authentication_error"))
            see("", "The model did not answer. Try again later.")
            html = page.content()
            visits.check()
            visits.close()
        log = site.log.read_text()
    assert (key in log, key in html, "authentication_error" in log, "Traceback" in log) == (False, False, True, False)
    path, headers, body = service.requests[2]
    texts = [message["content"] for message in body["messages"]]
    assert (path, headers["Authorization"], body["stream"]) == ("/v1/messages", f"Bearer {key}", True)
    assert texts[:-1] == ["How are you?", "Fine, thanks 👋", "And now?", "Still"]
    assert texts[-1].startswith("Your answer was interrupted.")
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert len(service.requests) == 7
