"""An answer is a starting point: the environment or cruft changes it later, as docs/change-an-answer.md explains."""

import contextlib
import json
import re
import shlex
import subprocess

import httpx
import pytest
from support.client import PASSWORD, Person, hears, receive
from support.differences import content, difference
from support.emitted import bake, clean_environ, environ_for, production_values, run
from support.matrix import CHOICES, CONTEXT, PYTHONS, TEMPLATE
from support.pages import commands
from support.servers import Redis, start_site, wait_until

from demo import find_python

MANAGE = ["uv", "run", "python", "manage.py"]
CHECK = [*MANAGE, "check", "--deploy", "--database", "default"]
MISSING = {
    "REDIS_URL": "the packages for Redis are missing. Install them: uv add "
    '"channels-redis>=4.3,<5" "redis[hiredis]>=8.1,<9"',
    "DATABASE_URL": 'the packages for PostgreSQL are missing. Install them: uv add "psycopg[binary,pool]>=3.3,<4"',
}

PAGE = "docs/change-an-answer.md"
SOURCE = (TEMPLATE / "{{cookiecutter.project_slug}}" / PAGE).read_text(encoding="utf-8")
# The answers on the page that cruft changes, by the first question of each, in the order of the page.
CHANGES: dict[str, list[dict[str, str]]] = {}
for found in re.findall(r'`(\{"\w+": [^}]+\})`', SOURCE):
    change = json.loads(found)
    CHANGES.setdefault(next(iter(change)), []).append(change)


@pytest.fixture
def prepare(cookies, environment):
    """A function that returns a project, and variables with which its commands use the shared environment."""

    def prepare(**answers):
        python = environment(PYTHONS[-1], CHOICES["django_version"][0])
        return bake(cookies, **answers), environ_for(python)

    return prepare


def failure(command, project, environ):
    """Return the lines that a command writes, which must fail."""
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.splitlines()


def issues(project, environ):
    """Return the ids of what `check --deploy` finds in production."""
    environ = {**production_values(project), **environ}
    done = subprocess.run(CHECK, cwd=project, env=environ, capture_output=True, text=True, timeout=120)
    return re.findall(r"^\S+: \((\S+)\)", done.stderr, re.MULTILINE)


def check_workers_talk(site, redis):
    """Check that sockets of two processes in one room get each other's events."""
    with contextlib.ExitStack() as stack:
        sockets = []
        while subscribers(redis) < 2:
            assert len(sockets) < 30, "all sockets are in one process"
            sockets.append(stack.enter_context(Person(site, "session").connect("lobby")))
            assert receive(sockets[-1])["type"] == "welcome"
        for number, socket in enumerate(sockets):
            others = [other for other in sockets if other is not socket]
            assert all(hears(socket, other, f"{number}-{place}") for place, other in enumerate(others))


def subscribers(redis):
    """Return how many processes are subscribed to the busiest channel."""
    channels = re.findall(r"^(\S*__group__\S*)\r$", redis.ask("PUBSUB CHANNELS *"), re.MULTILINE)
    counts = re.findall(r"^:(\d+)\r$", redis.ask(f"PUBSUB NUMSUB {' '.join(channels)}"), re.MULTILINE)
    return max(map(int, counts), default=0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MISSING)
def test_added_packages_are_enough(name, cookies, redis, postgres):
    """One line names the command that adds the packages, and the default project then uses the service."""
    project = bake(cookies)
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]))
    run(["make", "setup"], project, environ)
    environ[name] = {"REDIS_URL": f"{redis.url}/0", "DATABASE_URL": postgres.new_database()}[name]
    for command in ([*MANAGE, "check"], [*MANAGE, "migrate"]):
        assert failure(command, project, environ) == [f"{name}: {MISSING[name]}"]

    run(shlex.split(MISSING[name].partition(": ")[2]), project, environ)
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    assert issues(project, environ) == {"REDIS_URL": [], "DATABASE_URL": ["realtime.E001"]}[name]
    workers = {"REDIS_URL": "2", "DATABASE_URL": "1"}[name]
    with start_site(["make", "serve"], project, {**environ, "WEB_CONCURRENCY": workers}) as site:
        assert site.probe("readyz") == (200, "ready\n")
        if name == "REDIS_URL":
            check_workers_talk(site, redis)
        else:
            ann, ben = Person(site, "session"), Person(site, "session")
            with ann.connect("lobby") as one, ben.connect("lobby") as other:
                assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
                assert hears(one, other, "a")


def test_requirements_are_those_of_the_answers(cookies):
    """The commands add what a project has whose answers named the services."""
    text = (bake(cookies, channel_layer="redis", database="postgresql") / "pyproject.toml").read_text()
    for line in MISSING.values():
        for requirement in re.findall(r'"[^"]+"', line):
            assert f"    {requirement},\n" in text


@pytest.mark.parametrize("layer", CHOICES["channel_layer"])
def test_redis_is_used_if_its_url_is_set(layer, prepare, tmp_path):
    """Probes, checks and the limit of connections follow REDIS_URL, whatever the channel layer was at first."""
    project, environ = prepare(channel_layer=layer)
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    redis = Redis(tmp_path)
    with_redis = {**environ, "REDIS_URL": f"{redis.url}/0"}
    assert issues(project, with_redis) == ["realtime.E002"]
    redis.start()
    try:
        assert issues(project, with_redis) == []
        with start_site(["make", "serve"], project, {**with_redis, "MACHINES": "2"}) as site:
            assert site.probe("readyz") == (200, "ready\n")
            with Person(site, "session").connect("lobby") as socket:
                assert receive(socket)["type"] == "welcome"
                assert ":connections:" in redis.ask("KEYS *")
            redis.stop()
            wait_until(lambda: site.probe("readyz") == (503, "away: channel layer\n"), "not ready without Redis", 5)
    finally:
        redis.process.kill()


@pytest.mark.parametrize("layer", CHOICES["channel_layer"])
def test_messages_stay_in_memory_without_redis(layer, prepare):
    """Without REDIS_URL one process is ready, and one line refuses several."""
    project, environ = prepare(channel_layer=layer)
    environ["REDIS_URL"] = ""
    assert issues(project, environ) == ["realtime.E001"]
    for name in ("WEB_CONCURRENCY", "MACHINES"):
        assert failure([*MANAGE, "check"], project, {**environ, name: "2"}) == [
            f"{name}: 2 needs Redis, because the in-memory channel layer serves one process. "
            f"Set REDIS_URL, such as REDIS_URL=redis://127.0.0.1:6379/0, or {name}=1."
        ]
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    with start_site(["make", "serve"], project, environ) as site:
        assert site.probe("readyz") == (200, "ready\n")
        ann, ben = Person(site, "session"), Person(site, "session")
        with ann.connect("lobby") as one, ben.connect("lobby") as other:
            assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
            assert hears(one, other, "a")


@pytest.mark.parametrize("database", CHOICES["database"])
def test_url_chooses_the_database(database, prepare, redis, postgres):
    """Probes and checks follow the scheme of DATABASE_URL, whatever the database was at first."""
    project, environ = prepare(database=database, channel_layer="redis")
    environ |= {"REDIS_URL": f"{redis.url}/0", "MACHINES": "2"}
    found = {}
    for url in ("sqlite:///other.sqlite3", postgres.new_database()):
        scheme, _, _ = url.partition(":")
        environ["DATABASE_URL"] = url
        run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
        found[scheme] = issues(project, environ)
        with start_site(["make", "serve"], project, environ) as site:
            assert site.probe("readyz") == (200, "ready\n")
    assert found == {"sqlite": ["realtime.E004"], "postgresql": []}
    assert issues(project, {**environ, "MACHINES": "50"}) == ["realtime.W005"]


def section(project, title):
    """Return the shell commands of a section of the page."""
    page = (project / PAGE).read_text(encoding="utf-8")
    return [shlex.split(command) for command in commands(page.partition(f"## {title}\n")[2].partition("\n## ")[0])]


def shell(project, environ, code):
    """Return what Python code prints in a project."""
    return run([*MANAGE, "shell", "--no-imports", "-c", code], project, environ).strip()


@pytest.mark.quick
def test_page_has_each_question(cookies):
    """Every question with choices is on the page, each section adds the packages that the start names."""
    assert CHANGES.keys() == CHOICES.keys()
    choices = {key: {change[key] for change in changes} for key, changes in CHANGES.items()}
    for key in ("auth", "examples", "deploy", "ci", "django_version"):
        assert choices[key] | {"token"} >= set(CHOICES[key])
    project = bake(cookies, examples="none")
    servers = {tuple(row["requirements"]) for row in CONTEXT["_choices"]["server"].values()}
    assert {tuple(command[2:]) for command in section(project, "Server")} == servers
    for title, line in (("Channel layer", MISSING["REDIS_URL"]), ("Database", MISSING["DATABASE_URL"])):
        assert section(project, title)[0] == shlex.split(line.partition(": ")[2])


@pytest.mark.parametrize("question", CHANGES)
def test_cruft_changes_the_files(question, template, cookies):
    """The page's command leads to the files of a project with the other answer, from choice to choice and back."""
    template.write()
    template.commit()
    project = template.create({})
    command, *_ = section(project, "All files at once")
    assert command[:2] == ["uvx", "cruft>=2.16,<3"]
    assert command[2:5] == ["update", "-y", "--variables-to-update"]
    default = {question: CHOICES[question][0]}
    answers = dict(default)
    for change in [*CHANGES[question], default]:
        if change.items() <= answers.items():
            continue
        answers |= change
        template.update(project, "--variables-to-update", json.dumps(change))
        expected = content(bake(cookies, **answers))
        changed = difference(expected, content(project))
        assert {name for name in changed if not name.startswith("+.git/")} == {"+.cruft.json"}
        assert ".cruft.json" in template.git("status", folder=project)
        variables = template.git("diff", "HEAD", ".env.example", folder=project)
        assert (f"+SERVER={answers[question]}" in variables) == (question == "server")
        template.commit(project)


def test_data_moves_to_another_database(prepare, postgres):
    """Accounts and messages are there after the page's commands, on PostgreSQL and back, and more can be stored."""
    project, environ = prepare()
    store = (
        "from accounts.models import User; from chat.models import Draft, Message, store_message; "
        "user, _ = User.objects.get_or_create(username='ann'); number = Message.objects.count() + 1; "
        "store_message(Draft('lobby', str(user.pk), 'ann', f'a{number}', 'hi')); "
        "User.objects.create(username=f'other-{number}'); "
        "print(list(Message.objects.values_list('seq', flat=True)), User.objects.count())"
    )
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    assert shell(project, environ, store) == "[1] 2"
    add, dump, *load = section(project, "Database")
    assert add[:2] == ["uv", "add"]
    for number, url in enumerate([postgres.new_database(), "sqlite:///other.sqlite3"], 2):
        run(["sh", "-c", " ".join(dump)], project, environ)
        assert (project.parent / "data.json").stat().st_mode & 0o777 == 0o600
        environ["DATABASE_URL"] = url
        for command in load:
            run(command, project, environ)
        assert shell(project, environ, store) == f"{list(range(1, number + 1))} {number + 1}"


@pytest.mark.timeout(600)
def test_accounts_survive_a_change_of_sign_in(template, environment):
    """Guests get accounts, a user of sessions gets a token, and everybody can be a guest again, in one database."""
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    template.write()
    template.commit()
    project = template.create({"auth": "none"})
    create = f"from accounts.models import User; User.objects.create_user('ann', password='{PASSWORD}')"
    for number, auth in enumerate(("none", "session", "token", "session", "none")):
        if number:
            template.update(project, "--variables-to-update", json.dumps({"auth": auth}))
            template.commit(project)
        run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
        if number == 1:
            shell(project, environ, create)
        with start_site(["make", "serve"], project, environ) as site:
            person = Person(site, auth)
            with person.connect("lobby") as socket:
                assert receive(socket)["type"] == "welcome"
                assert hears(socket, socket, str(number))
            assert len(person.history("lobby")["messages"]) == number + 1
            if auth == "token":
                fields = {"username": "ann", "password": PASSWORD}
                answer = httpx.post(f"{site.url}/api/token/", data=fields, trust_env=False, timeout=30)
                assert answer.status_code == 200
