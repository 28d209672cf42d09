"""Load test of the chat on a running site: `make load URL=https://… RATE=200`.

`Options` of `realtime/load.py` lists the variables, of which any may be set.
"""

import secrets

from realtime.load import Browser, Load, main


class ChatLoad(Load):
    """Users who write in the rooms `load-1`, `load-2`, …"""

    def sign_in(self, browser: Browser, name: str, password: str) -> dict[str, str]:
        if name:
            browser.submit("/accounts/login/", username=name, password=password)
        else:
            name, password = f"load-{secrets.token_hex(6)}", secrets.token_urlsafe()
            passwords = {"password1": password, "password2": password}
            browser.submit("/accounts/signup/", username=name, **passwords)
        return {"Cookie": browser.cookie}

    def path(self, group: int) -> str:
        return f"/ws/chat/load-{group}/"

    def event(self, ref: str) -> dict[str, str]:
        return {"type": "send", "ref": ref, "text": f"Message {ref}"}


if __name__ == "__main__":
    main(ChatLoad)
