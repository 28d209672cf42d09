"""Path converter for the names of rooms."""

from chat.names import clean_name


class RoomConverter:
    """Name of a room, percent-encoded in the URL. Names of other normal forms lead to the same."""

    regex = "[^/]+"
    to_python = to_url = staticmethod(clean_name)
