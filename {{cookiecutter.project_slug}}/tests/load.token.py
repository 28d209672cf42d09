"""Load test of the chat on a running site: `make load URL=https://… RATE=200`.

`Options` of `realtime/load.py` lists the variables, of which any may be set.
"""

import json
import secrets
from urllib.parse import urlencode

from realtime.load import Browser, Load, SiteError, main


class ChatLoad(Load):
    """Users who write in the rooms `load-1`, `load-2`, …"""

    def sign_in(self, browser: Browser, name: str, password: str) -> dict[str, str]:
        if not name:
            name, password = f"load-{secrets.token_hex(6)}", secrets.token_urlsafe()
            passwords = {"password1": password, "password2": password}
            browser.submit("/accounts/signup/", username=name, **passwords)
        form = urlencode({"username": name, "password": password})
        status, answer = browser.request("POST", "/api/token/", form)
        if status != 200:
            raise SiteError(f"{browser.url}/api/token/ does not accept {name}: {answer}")
        return {"Authorization": f"Bearer {json.loads(answer)['token']}"}

    def path(self, group: int) -> str:
        return f"/ws/chat/load-{group}/"

    def event(self, ref: str) -> dict[str, str]:
        return {"type": "send", "ref": ref, "text": f"Message {ref}"}


if __name__ == "__main__":
    main(ChatLoad)
