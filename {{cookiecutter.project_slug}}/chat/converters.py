"""Path converter for the names of rooms."""

import unicodedata

INVISIBLE = {"Cf", "Mn", "Me", "Zs", "Zl", "Zp"}  # categories: spaces, joiners, combining marks
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that look like spaces


class RoomConverter:
    """1 to 64 characters of any script, visible, without control characters, and not a path."""

    regex = "[^/]{1,64}"

    def to_python(self, value: str) -> str:
        categories = {
            unicodedata.category(character) for character in value if character not in BLANK
        }
        if value in {".", ".."} or categories & {"Cc", "Cs"} or categories <= INVISIBLE:
            raise ValueError(f"{value!r} is not the name of a room")
        return value

    def to_url(self, value: str) -> str:
        return self.to_python(value)
