"""History of a journal."""

from asgiref.sync import sync_to_async

from engine.models import Entry, Journal, append
from realtime.broadcast import group_name
from realtime.history import History


def group_of(journal):
    """Return the group of a journal's readers."""
    return group_name("journal", journal)


class JournalHistory(History):
    """Entries of the journal whose name is the key."""

    @staticmethod
    def latest(keys):
        return dict(Journal.objects.filter(name__in=keys).values_list("name", "seq"))

    def between(self, after, until):
        entries = Entry.objects.filter(journal__name=self.key, seq__gt=after, seq__lte=until)
        return (entry.event() for entry in entries.order_by("-seq").iterator(2))


async def store(*texts):
    """Store entries of the journal "a" that are not published. Return their events."""
    return [(await sync_to_async(append)("a", "bob", text[:64], text))[0].event() for text in texts]
