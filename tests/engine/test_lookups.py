"""Look-up of many values at once."""

import pytest

from engine.models import Journal
from realtime.lookups import one_of

NAMES = ["a", "b", "b,c", "c,", "Größe", "'; --", "%s"]


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", [["a"], ["a", "b"], ["b,c", "a"], ["c,"], ["b", "c"], NAMES, ["none"], []])
def test_texts_are_found(wanted):
    """Each row with one of the texts is found, whatever is in them."""
    Journal.objects.bulk_create(Journal(name=name) for name in NAMES)
    found = Journal.objects.filter(one_of("name", set(wanted))).values_list("name", flat=True)
    assert sorted(found) == sorted(set(wanted).intersection(NAMES))


@pytest.mark.django_db
def test_numbers_are_found():
    """Rows are found by primary key, and combined with another condition."""
    journals = Journal.objects.bulk_create(Journal(name=name) for name in NAMES)
    wanted = [journal.pk for journal in journals[:3]]
    assert set(Journal.objects.filter(one_of("pk", wanted))) == set(journals[:3])
    assert list(Journal.objects.filter(one_of("pk", [*wanted, -1]), name="b")) == [journals[1]]
    assert Journal.objects.filter(one_of("pk", wanted)).count() == 3
