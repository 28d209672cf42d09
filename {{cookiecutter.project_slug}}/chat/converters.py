"""Path converter for the names of rooms."""

from chat.names import clean_name


class RoomConverter:
    """Name of a room, percent-encoded in the URL. Names of other normal forms lead to the same."""

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        return clean_name(value)

    def to_url(self, value: str) -> str:
        return clean_name(value)
