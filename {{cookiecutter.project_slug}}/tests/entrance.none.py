"""Sign-in of the users of `tests/load.py`: guests, who keep their name in a cookie."""

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit


class Refused(Exception):
    """The site cannot be used. The text is one line with the reason or the fix."""


def enter(url: str, name: str = "", password: str = "") -> dict[str, str]:
    """Return the headers for the sockets of one guest. Names and passwords are for other sites.

    The cookie keeps the guest after a reconnect, so that a message sent again is stored once.
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
