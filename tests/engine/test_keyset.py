"""Pages and chunks of long querysets."""

from itertools import islice

import pytest

from engine.models import Journal
from realtime.keyset import iterate, paginate

NAMES = ["a", "b", "c", "d", "e"]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def journals():
    Journal.objects.bulk_create(Journal(name=name) for name in reversed(NAMES))


def page(size, **beside):
    """Return the names on a page, and the names that lead to the pages beside it."""
    found = paginate(Journal.objects.all(), "name", size, **beside)
    return "".join(journal.name for journal in found.rows), found.previous, found.next


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({}, ("ab", None, "b")),
        ({"after": "", "before": ""}, ("ab", None, "b")),
        ({"after": "b"}, ("cd", "c", "d")),
        ({"after": "bb"}, ("cd", "c", "d")),
        ({"after": "d"}, ("e", "e", None)),
        ({"after": "e"}, ("", None, None)),
        ({"before": "e"}, ("cd", "c", "d")),
        ({"before": "z"}, ("de", "d", "e")),
        ({"before": "c"}, ("ab", None, "b")),
        ({"before": "b"}, ("ab", None, "b")),
        ({"before": "a"}, ("ab", None, "b")),
    ],
)
def test_page_knows_the_pages_beside_it(beside, expected):
    """A page begins after a value or ends before one. The first page is a full one."""
    assert page(2, **beside) == expected


def test_order_may_be_reversed():
    """Pages of the reverse order lead to each other, too."""
    for beside, names, previous, following in (
        ({}, "ed", None, "d"),
        ({"after": "d"}, "cb", "c", "b"),
        ({"after": "b"}, "a", "a", None),
        ({"before": "a"}, "cb", "c", "b"),
        ({"before": "c"}, "ed", None, "d"),
    ):
        found = paginate(Journal.objects.order_by("name"), "-name", 2, **beside)
        assert "".join(journal.name for journal in found.rows) == names
        assert (found.previous, found.next) == (previous, following)


def test_list_that_fits_is_one_page():
    """No page leads to an empty one."""
    assert page(5) == ("abcde", None, None)
    assert page(6) == ("abcde", None, None)


def test_page_takes_one_query(django_assert_num_queries):
    """A page takes one row more than it shows, and no count."""
    for beside in ({}, {"after": "b"}, {"before": "e"}):
        with django_assert_num_queries(1):
            page(2, **beside)


@pytest.mark.parametrize("chunk", [1, 2, 5, 6])
def test_rows_are_read_in_chunks(chunk):
    """Every row comes once, in either order, whatever order the queryset had."""
    journals = Journal.objects.order_by("-pk")
    assert [journal.name for journal in iterate(journals, "name", chunk)] == NAMES
    assert [journal.name for journal in iterate(journals, "-name", chunk)] == NAMES[::-1]
    assert [journal.name for journal in iterate(journals.filter(name__gt="c"), "-name", chunk)] == ["e", "d"]


def test_loop_that_ends_early_reads_what_it_needs(django_assert_num_queries):
    """A chunk is one query."""
    with django_assert_num_queries(2):
        assert len(list(islice(iterate(Journal.objects.all(), "name", 2), 3))) == 3
