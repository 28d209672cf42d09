"""Names of users that are visible, and that do not look like another's."""

import pytest
from django.core.exceptions import ValidationError

from realtime.auth.names import look_of, validate_name


@pytest.mark.parametrize("name", ["", "\u200d", "\u3164", "a\u202eb", "a\0b", "a\u2028b"])
def test_hiding_names_are_refused(name):
    """A name has visible characters, and none that hide or reorder others."""
    with pytest.raises(ValidationError):
        validate_name(name)
    validate_name("Zoë 👩\u200d💻")


@pytest.mark.parametrize("name", ["ANN", "\u0430nn", "\uff41nn", "a\u200dnn", "an n"])
def test_look_alikes_have_one_look(name):
    """Case, other scripts, width, joiners and spaces make no other look."""
    assert look_of(name) == look_of("ann")
    assert look_of(name) != look_of("anna")
