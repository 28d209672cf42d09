"""Sign-in of the users of `tests/load.py`: they sign up if needed, and get a token."""

import json
import re
import secrets
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlencode, urlsplit


class Refused(Exception):
    """The site cannot be used. The text is one line with the reason or the fix."""


def enter(url: str, name: str = "", password: str = "") -> dict[str, str]:
    """Return the headers for the sockets of a user, who signs up without a name."""
    visitor = Visitor(url)
    if not name:
        name, password = f"load-{secrets.token_hex(6)}", secrets.token_urlsafe()
        visitor.submit("/accounts/signup/", username=name, password1=password, password2=password)
    form = urlencode({"username": name, "password": password})
    status, answer = visitor.ask("POST", "/api/token/", form)
    if status != 200:
        raise Refused(f"{url}/api/token/ does not accept {name}: {answer}")
    return {"Authorization": f"Bearer {json.loads(answer)['token']}"}


class Visitor:
    """Client that fills in forms as a browser does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies: dict[str, str] = {}

    def submit(self, path: str, **fields: str) -> None:
        """Get a form, fill it in and send it."""
        status, page = self.ask("GET", path)
        if status == 404 and path == "/accounts/signup/":
            raise Refused(
                f"{self.url}{path} is not there. If the URL is right, sign-up is closed: set "
                "SIGNUP_OPEN=true there, or give ACCOUNTS=file with a name and a password per line."
            )
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        if status != 200 or token is None:
            raise Refused(f"{self.url}{path} answers {status}, and no form.")
        status, _ = self.ask("POST", path, urlencode({**fields, "csrfmiddlewaretoken": token[1]}))
        if status != 302:
            raise Refused(f"{self.url}{path} does not accept {fields['username']}.")

    def ask(self, method: str, path: str, form: str = "") -> tuple[int, str]:
        """Return the status and the text of the answer."""
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        headers = {"Cookie": self.cookie(), "Origin": f"{parts.scheme}://{parts.netloc}"}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection = kind(parts.netloc, timeout=30)
            connection.request(method, parts.path + path, form or None, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            connection.close()
        except (OSError, HTTPException) as error:
            raise Refused(f"{self.url} does not answer: {error}") from error
        location = answer.headers.get("Location", "")
        if answer.status == 301 or answer.status >= 500:
            raise Refused(f"{self.url}{path} answers {answer.status} {location}".rstrip())
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.status, text

    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())
