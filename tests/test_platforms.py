"""Platforms, plain machines and tunnels: the files and commands of their pages, with a stand-in for each router."""

import configparser
import json
import os
import re
import shutil
import ssl
import subprocess
import tomllib
from types import SimpleNamespace

import pytest
import trustme
import yaml
from support.client import Person, open_socket, receive, say
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, SIGNED_IN, combinations, label, spread
from support.programs import ROOTS, require_programs
from support.router import router
from support.servers import free_port, listens, start_site, wait_until
from websockets.exceptions import InvalidStatus

SITES = [
    pytest.param(answers, id=answers["server"], marks=pytest.mark.xdist_group("platforms"))
    for answers in spread(combinations("server"), "channel_layer", "database", "consumers", auth=SIGNED_IN)
]
VARIANTS = [
    {},
    {"channel_layer": "redis", "auth": "token"},
    {"examples": "all"},
    {"deploy": "none"},
    {"deploy": "none", "examples": "all", "auth": "none"},
]
OPTIONS = "{\nadmin off\nauto_https off\n}"  # of Caddy, which otherwise takes fixed ports
EDGE = "66.241.124.7"  # of a platform, where clients connect before its router
MACHINE = "A plain machine, with systemd and Caddy"


def block(page, title, number=0):
    """Return a block of a section of a page."""
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\w*\n(.*?)^```$", section, re.M | re.S)[number]


def page_of(project, name="platforms"):
    return (project / "docs" / f"{name}.md").read_text(encoding="utf-8")


def see_talk(front, auth, room="lobby"):
    """Check that users sign in through the router and talk over sockets, and that no page redirects to itself."""
    ann, ben = Person(front, auth), Person(front, auth)
    page = ann.http.get("/")
    assert page.status_code == 200
    with ann.connect(room) as one, ben.connect(room) as other:
        assert receive(one)["type"] == receive(other)["type"] == "welcome"
        said = say(one, "a", "hi")
        assert receive(other) == said
    assert ann.history(room)["messages"] == [said]


@pytest.fixture(scope="module", params=SITES)
def site_of_platform(request, cookies_session, environment, services):
    """Build a clone as a buildpack does, without variables, and return it with the environment of a platform."""
    answers = request.param
    project = bake(cookies_session, **answers)
    (project / ".env").unlink()
    folder = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(folder)
    environ["PATH"] = f"{folder}/bin{os.pathsep}{environ['PATH']}"
    run(["python", "manage.py", "collectstatic", "--no-input", "--verbosity", "0"], project, environ)
    environ |= {"DATABASE_URL": "sqlite:///db.sqlite3", **services(answers)}
    environ["DATABASE_URL"] = environ["DATABASE_URL"].replace("postgresql://", "postgres://")
    key = run(["sh", "-c", re.search(r"`(python -c .+?)`", page_of(project))[1]], project, environ).strip()
    values = {"SECRET_KEY": key, "ALLOWED_HOSTS": "localhost", "SIGNUP_OPEN": "true"}
    return project, environ | values, answers["auth"]


def test_procfile_serves_behind_a_router_of_unknown_address(site_of_platform):
    """The commands of the Procfile serve pages and sockets by HTTPS, and the client has its own address."""
    project, environ, auth = site_of_platform
    procfile = yaml.safe_load(block(page_of(project), "Heroku"))
    port = free_port()
    with router(port) as front:
        environ = environ | {
            "ALLOWED_ORIGINS": front.url,
            "FORWARDED_ALLOW_IPS": f"*,{EDGE}",
            "WEB_CONCURRENCY": "1",
            "LOG_FORMAT": "json",
        }
        run(["sh", "-c", procfile["release"]], project, environ)
        with start_site(["env", "-u", "HOST", "sh", "-c", procfile["web"]], project, environ, port) as site:
            see_talk(front, auth)
            with router(port, **{"X-Forwarded-For": f"203.0.113.7, {EDGE}"}) as after_edge:
                for each in (front, after_edge):
                    with pytest.raises(InvalidStatus, match="403"):
                        headers = {"X-Forwarded-For": "198.51.100.9"}
                        open_socket(each, "/ws/chat/lobby/", origin="https://example.org", additional_headers=headers)
            lines = [json.loads(line) for line in site.log.read_text().splitlines() if "origin_refused" in line]
            assert [line["client"] for line in lines] == ["127.0.0.1", "203.0.113.7"]


@pytest.mark.parametrize("site_of_platform", SITES[:1], indirect=True)
def test_unit_serves_behind_caddy(site_of_platform, tmp_path):
    """The unit's command serves behind Caddy, whose configuration is the page's with another certificate."""
    project, environ, auth = site_of_platform
    require_programs({"caddy": "caddy"})
    page, port, own_port = page_of(project), free_port(), free_port()
    command = re.search(r"^ExecStart=/srv/site/\.venv/bin/(python manage\.py) %i$", block(page, MACHINE, 1), re.M)[1]
    authority, tls = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(tls)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls.pem")
    caddyfile = block(page, MACHINE, 3)
    (tmp_path / "Caddyfile").write_text(caddyfile)
    caddy = shutil.which("caddy", path=ROOTS)
    assert run([caddy, "fmt", "Caddyfile"], tmp_path, environ) == caddyfile
    for theirs, ours in {
        "chat.example.com {": f"{OPTIONS}\nhttps://localhost:{own_port} {{\ntls tls.pem tls.pem",
        "127.0.0.1:8000": f"127.0.0.1:{port}",
    }.items():
        assert caddyfile.count(theirs) == 1
        caddyfile = caddyfile.replace(theirs, ours)
    (tmp_path / "Caddyfile").write_text(caddyfile)
    front = SimpleNamespace(url=f"https://localhost:{own_port}", tls=tls)
    environ = environ | {"ALLOWED_ORIGINS": front.url, "HOME": str(tmp_path)}
    run(["python", "manage.py", "migrate", "--no-input", "--verbosity", "0"], project, environ)
    with (
        start_site([*command.split(), "serve"], project, environ, port),
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [caddy, "run", "--config", "Caddyfile"],
            cwd=tmp_path,
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or listens(own_port), "Caddy")
            assert process.poll() is None, (tmp_path / "log").read_text()
            see_talk(front, auth, "caddy")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def development(cookies_session, environment):
    """Set up a project for development, as `make setup` does."""
    project = bake(cookies_session)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    return project, environ


def test_tunnel_serves_without_debug(development):
    """The commands of the page serve a site with its own database behind a tunnel, which connects from this machine."""
    project, environ = development
    commands = block(page_of(project, "on-my-phone"), "From the internet, through a tunnel")
    port = free_port()
    with router(port, "127.0.0.1", "127.0.0.1") as tunnel:
        commands = commands.replace("https://name.example.com", tunnel.url).replace("name.example.com", "localhost")
        with start_site(["sh", "-ec", commands], project, environ, port):
            see_talk(tunnel, "session")
    assert (project / "tunnel.sqlite3").exists()


def test_codespace_needs_its_origin_only(development):
    """The command of the page serves a codespace, which changes the host and may change the origin."""
    project, environ = development
    command = block(page_of(project, "on-my-phone"), "In a codespace or a dev container")
    port = free_port()
    environ = environ | {"CODESPACE_NAME": "fluffy-guide"}
    origins = (f"https://localhost:{port}", f"https://fluffy-guide-{port}.app.github.dev")
    with start_site(["sh", "-ec", command.replace("8000", str(port))], project, environ, port):
        for room, origin in enumerate(origins):
            headers = {"Host": f"localhost:{port}", "Origin": origin}
            with router(port, "127.0.0.1", "127.0.0.1", **headers) as codespace:
                see_talk(codespace, "session", f"room {room}")


@pytest.mark.quick
@pytest.mark.parametrize("answers", VARIANTS, ids=label)
def test_files_of_platforms_name_what_exists(answers, cookies):
    """Each file of the page parses, runs commands of the project, and sets variables that it reads."""
    project = bake(cookies, **answers)
    page = page_of(project)
    blocks = re.findall(r"^```(yaml|toml|ini)\n(.*?)^```$", page, re.M | re.S)
    parse = {"yaml": yaml.safe_load, "toml": tomllib.loads, "ini": parse_unit}
    files = [parse[language](text) for language, text in blocks]
    assert len(files) == (4 if answers.get("deploy") == "none" else 6)
    own = {path.stem for path in project.glob("*/management/commands/*.py")}
    own |= {path.stem for path in (project / "realtime").rglob("management/commands/*.py")}
    named = set(re.findall(r"manage\.py (\w+)|site@(\w+)", page))
    named = {name for pair in named for name in pair if name}
    assert ("createsuperuser" in named) == (answers.get("auth") != "none")
    assert named - own - {"createsuperuser"} == {"migrate", "collectstatic"}
    assert {"serve", "cleanup"} < named
    assert ("worker" in named) == ("bridge_devices" in named) == (answers.get("examples") == "all")
    example = (project / ".env.example").read_text(encoding="utf-8")
    variables = {name for file in files for name in variables_of(file)}
    assert variables - set(re.findall(r"^([A-Z_]+)=", example, re.M)) == set()
    assert {"SECRET_KEY", "ALLOWED_HOSTS", "ALLOWED_ORIGINS", "DATABASE_URL"} <= variables
    sites = list(filter(None, (set(variables_of(file)) for file in files)))
    has_redis = answers.get("channel_layer") == "redis" or answers.get("examples") == "all"
    for site in sites:
        assert ("SIGNUP_OPEN" in site) == (answers.get("auth") != "none")
    for site in (sites[0], sites[-1]):  # Fly keeps it as a secret
        assert ("REDIS_URL" in site) == has_redis
        assert ("MQTT_URL" in site) == ("bridge_devices" in named)
    services = {service["name"]: service["type"] for service in files[1]["services"]}
    assert (services.get("redis") == "keyvalue") == has_redis
    assert page.count("&environment") == ("*environment" in page)


def parse_unit(text):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def variables_of(value):
    """Yield the environment variables that a parsed file sets."""
    if isinstance(value, dict):
        yield from value.get("env", {})
        if "key" in value:
            yield value["key"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from variables_of(inner)


@pytest.mark.quick
def test_units_have_no_finding(cookies, tmp_path):
    """systemd accepts the units, here with a user and a program of this machine."""
    require_programs({"systemd-analyze": "systemd"})
    page = page_of(bake(cookies, examples="all"))
    service = block(page, MACHINE, 1).replace("User=site", "User=root").replace("/srv/site/.venv/bin", str(tmp_path))
    (tmp_path / "python").symlink_to("/bin/true")
    names = {"site@.service": service, "site-cleanup.timer": block(page, MACHINE, 2)}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
