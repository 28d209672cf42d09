"""Sources of figures. The module `figures` of an app declares them, and is imported by itself."""

from collections.abc import Callable, Mapping
from functools import cache

type Source = Callable[[], Mapping[str, float | None]]

sources: list[Source] = []


def source(function: Source) -> Source:
    """Declare a function that returns figures by their labels. It is called each second.

    The labels are always the same. A figure without a value now is None.
    """
    sources.append(function)
    return function


def read() -> dict[str, float | None]:
    """Return the figures of all sources, in the order of INSTALLED_APPS."""
    return {label: value for function in sources for label, value in function().items()}


@cache
def labels() -> tuple[str, ...]:
    """Return the labels of all figures. Each process reads the sources once for them."""
    return tuple(read())
