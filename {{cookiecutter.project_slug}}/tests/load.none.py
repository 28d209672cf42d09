"""Load test of the chat on a running site: `make load URL=https://… RATE=200`.

`Options` of `realtime/load.py` lists the variables, of which any may be set.
"""

from realtime.load import Browser, Load, SiteError, main


class ChatLoad(Load):
    """Guests who write in the rooms `load-1`, `load-2`, …"""

    def sign_in(self, browser: Browser, name: str, password: str) -> dict[str, str]:
        if (status := browser.request("GET", "/")[0]) != 200:
            raise SiteError(f"{browser.url}/ answers {status}.")
        return {"Cookie": browser.cookie}  # the guest's, also after a reconnect

    def path(self, group: int) -> str:
        return f"/ws/chat/load-{group}/"

    def event(self, ref: str) -> dict[str, str]:
        return {"type": "send", "ref": ref, "text": f"Message {ref}"}


if __name__ == "__main__":
    main(ChatLoad)
