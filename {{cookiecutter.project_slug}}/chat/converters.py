"""Which texts in a path are rooms."""

import unicodedata


class RoomConverter:
    """1 to 64 characters of any script, but no control characters, and no path."""

    regex = "[^/]{1,64}"

    def to_python(self, value: str) -> str:
        categories = {unicodedata.category(character) for character in value}
        if value in {".", ".."} or categories & {"Cc", "Cs"}:
            raise ValueError(f"{value!r} is not the name of a room")
        return value

    def to_url(self, value: str) -> str:
        return self.to_python(value)
