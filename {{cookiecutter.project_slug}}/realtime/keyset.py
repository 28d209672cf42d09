"""Pages and chunks of long querysets, which the database finds by an index without counting."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.models import Model, QuerySet


class Page[Row: Model](NamedTuple):
    """Rows, and the values of the field that lead to the pages beside them, or None."""

    rows: list[Row]
    previous: Any  # the `before` of the page before
    next: Any  # the `after` of the page after


def paginate[Row: Model](
    rows: QuerySet[Row], order: str, size: int, *, after: Any = None, before: Any = None
) -> Page[Row]:
    """Return the page after a value of a unique field, or before one.

    The order is that of the field, such as "seq" or "-seq". Without a value, or with an empty one,
    return the first page. This is a full one, even for visitors who come back from the second.
    """
    field = order.removeprefix("-")
    back, beyond = ("lt", "gt") if field == order else ("gt", "lt")
    if before:
        backwards = rows.filter(**{f"{field}__{back}": before}).order_by(order).reverse()
        found = list(backwards[: size + 1])
        if len(found) > size:
            found = found[:size][::-1]
            return Page(found, getattr(found[0], field), getattr(found[-1], field))
    if after:
        rows = rows.filter(**{f"{field}__{beyond}": after})
    found = list(rows.order_by(order)[: size + 1])
    previous = getattr(found[0], field) if after and found else None
    following = getattr(found[size - 1], field) if len(found) > size else None
    return Page(found[:size], previous, following)


def iterate[Row: Model](rows: QuerySet[Row], order: str, chunk: int = 64) -> Iterator[Row]:
    """Yield the rows in the order of a unique field, such as "seq" or "-seq".

    Each query reads a chunk, so that a loop may end early. `iterator()` would find all rows first.
    """
    field = order.removeprefix("-")
    beyond = f"{field}__gt" if field == order else f"{field}__lt"
    rows = rows.order_by(order)
    found = list(rows[:chunk])
    yield from found
    while len(found) == chunk:
        found = list(rows.filter(**{beyond: getattr(found[-1], field)})[:chunk])
        yield from found
