"""HTTPS by the server itself, on every server: TLS_CERTFILE and TLS_KEYFILE."""

import asyncio
import contextlib
import re
import ssl
import subprocess

import pytest
import trustme
from support.client import Person, receive, say
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, SIGNED_IN, combinations, spread
from support.servers import free_port, start_site

SITES = [
    pytest.param(answers, id=answers["server"], marks=pytest.mark.xdist_group(f"tls-{answers['server']}"))
    for answers in spread(combinations("server"), auth=SIGNED_IN)
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key, and what a client needs to trust it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "chain.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return {"TLS_CERTFILE": str(folder / "chain.pem"), "TLS_KEYFILE": str(folder / "key.pem")}, trust


@pytest.fixture(scope="module", params=SITES)
def project(request, cookies_session, environment):
    """Return a migrated project, its environment and its Python, and the kind of sign-in."""
    project = bake(cookies_session, **request.param)
    with (project / "config" / "settings.py").open("a") as settings:
        settings.write("SERVER_HEAD_SECONDS = 3\n")
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(python, LOG_LEVEL="WARNING")
    run([str(python / "bin" / "python"), "manage.py", "migrate", "--verbosity", "0"], project, environ)
    return project, environ, str(python / "bin" / "python"), request.param["auth"]


def test_https_and_wss_are_served(project, files):
    """Users sign in and chat in production without a proxy. Cookies are secure, and the scheme is https."""
    folder, environ, python, auth = project
    variables, trust = files
    port = free_port()
    production = {
        "DEBUG": "false",
        "SECRET_KEY": "s" * 64,
        "ALLOWED_HOSTS": "127.0.0.1",
        "ALLOWED_ORIGINS": f"https://127.0.0.1:{port}",
        "SIGNUP_OPEN": "true",
        **variables,
    }
    run([python, "manage.py", "collectstatic", "--no-input", "-v0"], folder, environ | production)
    with start_site([python, "manage.py", "serve"], folder, environ | production, port, tls=trust) as site:
        page = site.get("accounts/login/", timeout=10)
        assert page.status_code == 200
        assert "Forgot your password?" not in page.text  # without EMAIL_URL
        assert all("Secure" in cookie for cookie in page.headers.get_list("set-cookie"))
        ann, ben = Person(site, auth), Person(site, auth)
        with ann.connect("room") as one, ben.connect("room") as other:
            assert receive(one)["type"] == receive(other)["type"] == "welcome"
            said = say(one, "a", "x" * 4000)
            assert receive(other) == said
        assert ann.history("room")["messages"] == [said]
        asyncio.run(speak_plainly(port))
        asyncio.run(send_nothing(port))
        for head, status in (("GET / HTTP/1.1", 431), ("POST / HTTP/1.1\r\nContent-Length: 99000000", 413)):
            assert asyncio.run(refusal(port, trust, head)) == status
        assert site.answers()
        assert "Traceback" not in site.log.read_text()


async def speak_plainly(port):
    """Check that a client without TLS gets no page, and that the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"200" not in await reader.read()
    writer.close()


async def send_nothing(port):
    """Check that a client that begins no handshake is disconnected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def refusal(port, trust, head):
    """Send a head, which is too large unless it has a body. Return the status of the one answer."""
    cookie = "" if "Content-Length" in head else f"Cookie: {'x' * 40 * 1024}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
    writer.write(f"{head}\r\nHost: localhost\r\n{cookie}\r\n".encode())
    async with asyncio.timeout(15):
        answer = await reader.read()
    writer.close()
    (status,) = re.findall(rb"HTTP/1.1 (\d+) ", answer)
    return int(status)


@pytest.mark.parametrize("missing", ["TLS_CERTFILE", "TLS_KEYFILE"])
def test_one_file_without_the_other_ends_the_start(project, files, missing):
    """One line names the one that is missing."""
    folder, environ, python, _ = project
    command = [python, "manage.py", "serve"]
    variables = files[0] | {missing: ""}
    done = subprocess.run(command, cwd=folder, env=environ | variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"{missing}: missing. Set both of TLS_CERTFILE and TLS_KEYFILE, or neither.\n"
