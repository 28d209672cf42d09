"""Access to private rooms, for pages, lists, the history and sockets."""

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.http import Http404

from chat.models import Member, Room, room_group
from chat.names import PRIVATE, is_private
from realtime.broadcast import remove_from_group
from realtime.lookups import one_of


def is_open(room: str) -> bool:
    """Return whether every user may enter the room of this name."""
    return settings.CHAT_OPEN_ROOMS and not is_private(room)


def open_rooms() -> QuerySet[Room]:
    """Return the rooms that every user may enter: none without CHAT_OPEN_ROOMS."""
    if not settings.CHAT_OPEN_ROOMS:
        return Room.objects.none()
    return Room.objects.filter(~Q(name__startswith=PRIVATE))


def visible_rooms(user: Any) -> QuerySet[Room]:
    """Return the open rooms, and the private ones whose member the user is."""
    if not user.is_authenticated:
        return open_rooms()
    own = Member.objects.filter(user=user).values("room")
    return open_rooms() | Room.objects.filter(pk__in=own)


def listed_rooms(user: Any, limit: int) -> list[str]:
    """Return the names of the user's private rooms, then of open ones, up to a limit."""
    own = Member.objects.filter(user=user.pk).values_list("room__name", flat=True)
    names = list(own.order_by("room__name")[:limit])
    others = open_rooms().values_list("name", flat=True)
    return names + list(others[: limit - len(names)])


def visible_seqs(user: Any, rooms: Collection[str]) -> dict[str, int]:
    """Return the number of the latest message of each of these rooms that the user may enter."""
    visible = visible_rooms(user).filter(name__in=rooms)
    return dict(visible.order_by().values_list("name", "seq"))


def may_enter(user: Any, room: str) -> bool:
    """Return whether the user may enter the room of this name, which is open or theirs."""
    return is_open(room) or visible_rooms(user).filter(name=room).exists()


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
