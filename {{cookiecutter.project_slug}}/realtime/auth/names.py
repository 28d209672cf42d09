"""Validation of names, and detection of look-alikes."""

import re
import unicodedata

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

INVISIBLE = {"Cf", "Mn", "Me", "Zs"}  # categories: joiners, combining marks, spaces
HIDING = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # these hide or reorder text
JOINERS = "\u200c\u200d"  # except these, in Persian words and in emoji
SELECTORS = re.compile("[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # of a glyph
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that look like spaces

# Letters that look like Latin ones, a part of https://www.unicode.org/Public/security/latest/confusables.txt
LETTERS = {
    "ABEZHIKMNOPTYXCSJ": "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹЅЈ",  # noqa: RUF001
    "ABEIKMHOPCTYXGL": "АВЕІКМНОРСТУХԌӀ",  # noqa: RUF001
    "aovpiuykncjys": "αονριυγκηϲϳуѕ",
    "aeiojpcxhkdqwvlbmtngr": "аеіојрсхһкԁԛԝѵӏвмтпԍг",
    "ounhgqslia": "օսոհցզꜱǀıɑ",  # noqa: RUF001
}
LIKE_LATIN = str.maketrans("".join(LETTERS.values()), "".join(LETTERS))
LIKE_EACH_OTHER = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "m": "rn", "w": "vv"})


def is_visible(name: str) -> bool:
    """Return whether a name has visible characters, and none that hide or reorder others."""
    shown = {unicodedata.category(letter) for letter in name if letter not in BLANK}
    others = {unicodedata.category(letter) for letter in name if letter not in JOINERS}
    return not shown <= INVISIBLE and others.isdisjoint(HIDING)


def validate_name(name: str) -> None:
    """Raise ValidationError for a name that is not visible."""
    if not is_visible(name):
        raise ValidationError(
            gettext("Use visible characters, and none that hide or reorder others.")
        )


def look_of(name: str) -> str:
    """Return a text that is equal for names which look alike (UTS #39, section 4)."""
    text = unicodedata.normalize("NFKC", SELECTORS.sub("", name))
    text = text.translate(LIKE_LATIN).casefold()
    shown = (
        letter
        for letter in text
        if letter not in BLANK and unicodedata.category(letter) not in {"Cf", "Zs"}
    )
    return "".join(shown).translate(LIKE_EACH_OTHER)
