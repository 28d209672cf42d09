"""Validation of the Origin header, for sockets as Django does it for POST requests."""

import pytest
from asgiref.sync import sync_to_async
from django.middleware.csrf import CsrfViewMiddleware
from django.test import AsyncClient, Client, RequestFactory

from engine.asgi import application
from engine.people import user_of
from realtime.auth import Identity
from realtime.environment import parse_origins
from realtime.origin import OriginValidator, is_allowed, parse_origin
from realtime.testing import SocketClient

PATH = "/ws/journal/a/"
seen = []  # scopes, by `by_header`
FOREIGN = [(b"origin", b"http://evil.example")]


def by_header(scope):
    """Authenticate as a library of tokens would."""
    seen.append(scope)
    _, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
    if token not in {b"valid", b"forgeable"}:
        return None
    user = user_of("ann")
    return Identity(user, unforgeable=token == b"valid")


@pytest.fixture
def authenticators(settings):
    """Authenticate by header, then by session, and collect the scopes."""
    seen.clear()
    settings.REALTIME_AUTHENTICATORS = [f"{__name__}.by_header", "realtime.auth.sessions.authenticate"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost:8000", "http://localhost:1", "null", "http://[", ""]
)
@pytest.mark.parametrize("listed", [True, False])
async def test_foreign_origin_is_refused(visit, origin, listed, settings, caplog):
    """The handshake fails, and the log names the origin and the setting."""
    if not listed:
        settings.ALLOWED_ORIGINS = None
    ann = await visit(PATH, headers=[(b"host", b"localhost"), (b"origin", origin.encode())])
    assert not ann.connected
    assert origin in caplog.text
    assert "ALLOWED_ORIGINS" in caplog.text


@pytest.mark.parametrize("origin", ["https://site.example", "capacitor://localhost"])
async def test_listed_origin_connects(visit, settings, origin):
    """An origin in ALLOWED_ORIGINS may open a socket, also one of a page in an app."""
    settings.ALLOWED_ORIGINS = ["https://site.example", "capacitor://localhost"]
    assert (await visit(PATH, headers=[(b"origin", origin.encode())])).connected


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("https://Site.example", "https://site.example"),
        ("https://site.example:443", "https://site.example"),
        ("https://*.site.example:443", "https://*.site.example"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0::1]", "http://[::1]"),
        ("https://b\xfccher.example", "https://xn--bcher-kva.example"),
        ("https://*.B\xdcCHER.example:8443", "https://*.xn--bcher-kva.example:8443"),
        ("https://\u65e5\u672c\u8a9e.example", "https://xn--wgv71a119e.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
    ],
)
def test_origin_is_normalized(value, origin):
    """An origin is read as browsers write it, and stays so if it is read again."""
    assert parse_origin(value) == origin
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    "value",
    [
        "",
        "*",
        "null",
        "site.example",
        "https://",
        "https://*",
        "https://*.",
        "https://*site.example",
        "https://a.*.example",
        "*://site.example",
        "ws://site.example",
        "file://localhost",
        "https://site.example/",
        "https://ann@site.example",
        "https://site example",
        "https://site.example,",
        "http://a:x",
        "http://a:",
        "http://a:080",
        "http://a:99999",
        "http://[::1",
        "http://[localhost]",
        "http://127.1",
        "http://1.2.3.999",
        "http://-a.example",
        "http://a..example",
        "https://stra\xdfe.example",
        f"https://{'a' * 64}\xfc.example",
    ],
)
def test_invalid_origin_is_an_error(value):
    """A value that can never match an origin raises ValueError."""
    with pytest.raises(ValueError, match="is not an origin"):
        parse_origin(value)


WILDCARDS = "https://*.site.example, https://*.port.example:8443, https://*.b\xfccher.example"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.site.example", True),
        ("https://a.b.site.example", True),
        ("https://site.example", True),
        ("http://a.site.example", False),
        ("https://asite.example", False),
        ("https://a.site.example:444", False),
        ("https://a.site.example.evil.example", False),
        ("https://evil.example/a.site.example", False),
        ("https://a.port.example:8443", True),
        ("https://a.port.example", False),
        ("https://xn--a.xn--bcher-kva.example", True),
        ("https://[", False),
        ("null", False),
    ],
)
def test_wildcard_means_the_same_for_sockets_and_forms(settings, origin, allowed):
    """Django's own check of POST requests and ours agree on each origin."""
    settings.ALLOWED_ORIGINS = settings.CSRF_TRUSTED_ORIGINS = parse_origins(WILDCARDS)
    request = RequestFactory().post("/", headers={"Origin": origin})
    assert CsrfViewMiddleware(lambda request: None)._origin_verified(request) is allowed
    assert is_allowed(origin, {"headers": []}) is allowed


@pytest.mark.parametrize(
    ("authorization", "connected"),
    [(b"Bearer valid", True), (b"Bearer forgeable", False), (b"Bearer other", False), (b"Basic YTpi", False)],
)
async def test_unforgeable_credential_outranks_the_origin(visit, authenticators, authorization, connected):
    """A foreign page connects by a valid credential in a header. The cookies of a browser do not count."""
    ann = await visit(PATH, headers=[*FOREIGN, (b"authorization", authorization)])
    assert (ann.connected, seen[0]["cookies"]) == (connected, {})


@pytest.mark.parametrize("subprotocols", [[], ["v2"]])
async def test_foreign_origin_without_a_credential_is_refused_at_once(visit, authenticators, subprotocols):
    """No authenticator is asked, and thus no database."""
    ann = await visit(PATH, headers=FOREIGN, subprotocols=subprotocols)
    assert (ann.connected, seen) == (False, [])


async def test_validator_alone_is_strict(visit, authenticators):
    """Before another authentication, a foreign origin is refused whatever it sends."""
    headers = [*FOREIGN, (b"authorization", b"Bearer valid")]
    client = await SocketClient.connect(OriginValidator(application), PATH, headers=headers)
    assert not client.connected


async def test_failed_handshakes_are_explained(settings):
    """A page whose handshake failed learns whether the origin, the server or a proxy is the reason."""
    settings.ALLOWED_ORIGINS = ["https://site.example"]
    foreign, own = ({"Handshake-Origin": f"https://{name}.example"} for name in ("evil", "site"))
    no_asgi = await sync_to_async(Client().get)(PATH, headers=own)
    answers = [no_asgi, *[await AsyncClient().get(PATH, headers=headers) for headers in (foreign, own)]]
    assert [(answer.status_code, answer.content.decode()) for answer in answers] == [
        (200, "It is not an ASGI server. Run: python manage.py serve"),
        (200, "Add https://evil.example to ALLOWED_ORIGINS."),
        (
            200,
            "It allows this origin. Its log names the reason, unless a proxy drops the headers Upgrade "
            "and Connection: https://nginx.org/en/docs/http/websocket.html",
        ),
    ]
