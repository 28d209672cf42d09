"""Names of rooms. URLs and models accept the same ones."""

import unicodedata

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy

from realtime.auth.names import is_visible

MAX_NAME = 64  # characters
RULE = gettext_lazy("A room has 1 to 64 characters, some of them visible, and no slash.")
{% if cookiecutter.auth != "none" %}
PRIVATE = "~"  # the first character of a private room's name
LIKE_PRIVATE = "\u02dc\u2053\u223c\u223d\uff5e"  # an open room must not begin with them
{% endif %}


def clean_name(name: str) -> str:
    """Return the name in NFC, so that names which look the same are one. Raise ValueError."""
    name = unicodedata.normalize("NFC", name)
{% if cookiecutter.auth != "none" %}
    if name.startswith(tuple(LIKE_PRIVATE)):
        raise ValueError(RULE)
{% endif %}
    if (
        len(name) > MAX_NAME
        or name != name.strip()
        or name in {".", ".."}
        or "/" in name
        or not is_visible(name)
        or not is_visible(name[0])  # could hide what a name begins with
    ):
        raise ValueError(RULE)
    return name


def validate_name(name: str) -> None:
    """Raise ValidationError for a name that URLs refuse or change."""
    try:
        valid = clean_name(name) == name
    except ValueError:
        valid = False
    if not valid:
        raise ValidationError(RULE)
{% if cookiecutter.auth != "none" %}


def is_private(name: str) -> bool:
    """Return whether only members enter the room of this name."""
    return name.startswith(PRIVATE)
{% endif %}
