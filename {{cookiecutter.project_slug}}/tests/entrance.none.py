"""How the users of `tests/load.py` come in: as guests, who keep their name in a cookie."""

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit


class Refused(Exception):
    """The site cannot be used; the text says in one line why, or what to do."""


def enter(url: str, name: str = "", password: str = "") -> dict[str, str]:
    """The headers for the sockets of one guest; names and passwords are for other sites.

    With a cookie the guest stays the same after a reconnect, and what is resent is stored once.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        connection = kind(parts.netloc, timeout=30)
        connection.request("GET", f"{parts.path}/")
        answer = connection.getresponse()
        answer.read()
        connection.close()
    except (OSError, HTTPException) as error:
        raise Refused(f"{url} does not answer: {error}") from error
    if answer.status != 200:
        location = answer.headers.get("Location", "")
        raise Refused(f"{url}/ answers {answer.status} {location}".rstrip())
    cookies = answer.headers.get_all("Set-Cookie", [])
    return {"Cookie": "; ".join(cookie.partition(";")[0] for cookie in cookies)}
