"""The numbered events of a group, as they are stored."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any


class History(ABC):
    """Events with a `seq` that starts at 1 and has no gap, in the order of their commits.

    What the channel layer loses or swaps is put right from here. The methods are sync: they are
    called in a thread, and may query the database.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    @staticmethod
    @abstractmethod
    def latest(keys: Collection[str], /) -> dict[str, int]:
        """The number of the latest event of each; who has none may be left out."""

    @abstractmethod
    def between(self, after: int, until: int) -> list[Mapping[str, Any]]:
        """The events with `after < seq <= until`, oldest first."""
