"""Limit on the connections of one user."""

from realtime.places import Places


def get_connection_limit() -> Places:
    return Places()
