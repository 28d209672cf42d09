"""Access to private rooms, for pages, lists, the history and sockets."""

from collections.abc import Collection
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.http import Http404

from chat.models import Member, Room, room_group
from chat.names import PRIVATE, is_private
from realtime.broadcast import remove_from_group
from realtime.lookups import one_of


def visible_rooms(user: Any) -> QuerySet[Room]:
    """Return the open rooms, and the private ones whose member the user is."""
    is_open = ~Q(name__startswith=PRIVATE)
    if not user.is_authenticated:
        return Room.objects.filter(is_open)
    own = Member.objects.filter(user=user).values("room")
    return Room.objects.filter(is_open | Q(pk__in=own))


def may_enter(user: Any, room: str) -> bool:
    """Return whether the user may enter the room of this name, which is open or theirs."""
    return not is_private(room) or visible_rooms(user).filter(name=room).exists()


def check_entry(user: Any, room: str) -> None:
    """Raise Http404 unless the user may enter. No stranger learns whether the room exists."""
    if not may_enter(user, room):
        raise Http404("There is no such room.")


def membership(user: Any, room: str) -> int | None:
    """Return the key of the user's membership in a private room, for `find_members`."""
    members = Member.objects.filter(user=user.pk, room__name=room)
    return members.values_list("pk", flat=True).first()


def find_members(keys: Collection[int]) -> Collection[int]:
    """Return the keys of the memberships that are left. The engine looks up those of sockets."""
    return set(Member.objects.filter(one_of("pk", keys)).values_list("pk", flat=True))


@receiver(post_delete, sender=Member)
def on_removal(instance: Member, **_: Any) -> None:
    """Close the sockets of a member who was removed, on every process, after the commit."""
    remove_from_group(room_group(instance.room.name), str(instance.user_id))
