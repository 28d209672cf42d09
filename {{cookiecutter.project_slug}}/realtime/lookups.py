"""Look-up of many values at once."""

from collections.abc import Collection
from typing import Any

from django.db.models import F, Field, Lookup
from django.db.models.lookups import In

ARRAYS = {int: "bigint[]", str: "text[]"}


def one_of(field: str, values: Collection[Any]) -> "Lookup[Any]":
    """Return a condition for `filter()`: the field has one of up to 1,000 values.

    On PostgreSQL this costs a fifth of `field__in`.
    """
    return OneOf(F(field), values)


class OneOf(Lookup):
    """`IN`, but on PostgreSQL with one parameter, because most of the time goes into parameters."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return In(self.lhs, self.rhs).as_sql(compiler, connection)

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        lhs, parameters = self.process_lhs(compiler, connection)
        field, values = self.lhs.output_field, list(self.rhs)
        if type(field).__module__ != Field.__module__:  # psycopg knows the values of Django's own
            values = [field.get_db_prep_value(value, connection) for value in values]
        kinds, text = {type(value) for value in values}, ",".join(map(str, values))
        # psycopg takes four times as long to encode a list as Python to join it.
        if len(kinds) == 1 and kinds <= ARRAYS.keys() and text.count(",") == len(values) - 1:
            array = f"string_to_array(%s, ',')::{ARRAYS[kinds.pop()]}"
            return f"{lhs} = ANY({array})", [*parameters, text]
        return f"{lhs} = ANY(%s)", [*parameters, values]
