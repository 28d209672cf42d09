"""Rooms and the messages in them, numbered without a gap."""

import math
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from chat.events import MAX_TEXT
{% if cookiecutter.auth == "none" %}
from chat.names import MAX_NAME, validate_name
{% else %}
from chat.names import MAX_NAME, PRIVATE, validate_name
{% endif %}
from realtime.batches import in_batches
from realtime.broadcast import group_name, publish
{% if cookiecutter.auth != "none" %}
from realtime.identity import display_name
from realtime.identity import user_id as id_of
{% endif %}
from realtime.keyset import iterate
from realtime.protocol import EventError, encode

DAY = timedelta(days=1)
ROWS = 64  # read at a time: the longest texts together are 1 MiB
LOCK_MS = 200  # the longest wait for a room while other rooms wait, too
MILLISECOND = timedelta(milliseconds=1)  # the smallest difference of times in events
MAX_EDITS = 50  # sent to a client that reconnects
MAX_EDITS_BYTES = 512 * 1024  # of them together: more than an outbox could close a slow client
CLOCKS = timedelta(minutes=1)  # the clocks of processes and the database differ by less


class Room(models.Model):
{% if cookiecutter.auth == "none" %}
    """Room, created by its first message. `created_by` is a user id, as in `Message`."""
{% else %}
    """Room, created by its first message, or by its owner if it is private.

    A room is private if its name begins with `~`: only its members enter. `created_by` is a user
    id, as in `Message`.
    """
{% endif %}

    name = models.CharField(_("name"), max_length=MAX_NAME, unique=True, validators=[validate_name])
    seq = models.PositiveBigIntegerField(_("latest number"), default=0)  # of a message
    created_by = models.CharField(_("creator ID"), max_length=64, default="", editable=False)
    created_by_name = models.CharField(
        _("creator name"), max_length=150, default="", editable=False
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("room")
        verbose_name_plural = _("rooms")
        ordering = ("name",)
        indexes = (models.Index(fields=("created_by", "created_at"), name="room_creator"),)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("room", args=[self.name])
{% if cookiecutter.auth != "none" %}


class Member(models.Model):
    """Member of a private room. An owner adds and removes the others."""

    room = models.ForeignKey(
        Room,
        models.CASCADE,
        related_name="members",
        limit_choices_to={"name__startswith": PRIVATE},
        verbose_name=_("room"),
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user")
    )
    is_owner = models.BooleanField(_("owner"), default=False)

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = (models.UniqueConstraint(fields=("user", "room"), name="member_once"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.room})"

    @property
    def name(self) -> str:
        """Name that others see."""
        return display_name(self.user)
{% endif %}


class Message(models.Model):
    """Message of a user in a room. `ref` is the id that the sender's client gave it.

    `user_id` is the primary key of an account or the id of a guest. It is not a foreign key, so
    that messages outlive accounts. `user_name` is the display name at that time.
    """

    room = models.ForeignKey(Room, models.CASCADE, related_name="messages", verbose_name=_("room"))
    seq = models.PositiveBigIntegerField(_("number"))
    user_id = models.CharField(_("user ID"), max_length=64)
    user_name = models.CharField(_("user name"), max_length=150)
    ref = models.CharField(_("reference"), max_length=64)
    text = models.TextField(_("text"), max_length=MAX_TEXT)
    at = models.DateTimeField(_("sent at"), default=timezone.now)
    edited_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ("seq",)
        indexes = (
            models.Index(fields=("at",), name="message_at"),
            models.Index(
                fields=("room", "-edited_at"),
                condition=models.Q(edited_at__isnull=False),
                name="message_edited_at",
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=("room", "seq"), name="message_seq_once"),
            models.UniqueConstraint(fields=("room", "user_id", "ref"), name="message_ref_once"),
        )

    def __str__(self) -> str:
        return f"{self.user_name}: {self.text:.40}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the message. Publish the text of one that was stored before, after the commit."""
        if self._state.adding:
            return super().save(*args, **kwargs)
        if kwargs.get("update_fields") is not None:
            kwargs["update_fields"] = {*kwargs["update_fields"], "edited_at"}
        with transaction.atomic():
            # Events of two processes may change places, so clients keep the text with the latest
            # time. Read the last one under a lock, because clocks differ and may go back.
            row = Message.objects.select_for_update().filter(pk=self.pk)
            last = row.values_list("edited_at", flat=True).first()
            now = timezone.now()
            self.edited_at = max(now, last + MILLISECOND) if last else now
            super().save(*args, **kwargs)
            publish(room_group(self.room.name), self.edited_event(), numbered=False)

    @classmethod
    def expired(cls) -> models.QuerySet["Message"]:
        """Return messages older than MESSAGE_RETENTION_DAYS, for `manage.py cleanup` to delete.

        Rooms are kept and continue their numbers, so that clients with old messages still work.
        """
        days = settings.MESSAGE_RETENTION_DAYS
        old = cls.objects.filter(at__lt=timezone.now() - days * DAY) if days else cls.objects.none()
        return old.order_by("at")

    def event(self) -> dict[str, Any]:
        """Return the event that clients get."""
        event = {
            "type": "message",
            "seq": self.seq,
            "ref": self.ref,
            "user": self.user_name,
            "user_id": self.user_id,
            "text": self.text,
            "at": in_utc(self.at),
        }
        return event if self.edited_at is None else {**event, "edited_at": in_utc(self.edited_at)}

    def edited_event(self) -> dict[str, Any]:
        """Return the event that replaces the text on pages that have the message."""
        assert self.edited_at
        edited_at = in_utc(self.edited_at)
        return {"type": "edited", "seq": self.seq, "text": self.text, "edited_at": edited_at}


def in_utc(time: datetime) -> str:
    """Return a time as in `2026-01-01T12:00:00.000Z`."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"


def room_group(room: str) -> str:
    """Return the name of the room's group."""
    return group_name("chat", room)


class Draft(NamedTuple):
    """Message that is not stored yet."""

    room: str
    user_id: str
    user_name: str
    ref: str
    text: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.room, self.user_id, self.ref


type Stored = tuple[Message, bool]  # False if the user sent this `ref` before


def store_messages(drafts: list[Draft]) -> list[Stored]:
    """Store each message as the next of its room, all in one transaction.

    Raises EventError if a room is new and its user has created too many.
    """
    try:
        return insert_messages(drafts)
    except IntegrityError:
        return insert_messages(drafts, sent_before=True)


# Each takes one draft. Concurrent messages share a transaction, and one that fails fails alone.
store_message, astore_message = in_batches(store_messages)


def insert_messages(drafts: list[Draft], *, sent_before: bool = False) -> list[Stored]:
    """Store messages. Raises IntegrityError if one was stored before, unless `sent_before`."""
    new: dict[tuple[str, str, str], Draft] = {}
    for draft in drafts:
        new.setdefault(draft.key, draft)
    messages = {}
    with transaction.atomic():
        if sent_before:
            rooms = take_numbers(list(new.values()), each=0)  # only locks the rooms
            known = models.Q()
            for room, user_id, ref in new:
                known |= models.Q(room=rooms[room][0], user_id=user_id, ref=ref)
            for message in Message.objects.select_related("room").filter(known):
                messages[message.room.name, message.user_id, message.ref] = message
            new = {key: draft for key, draft in new.items() if key not in messages}
        rooms = take_numbers(list(new.values()))
        for key, draft in new.items():
            fields = draft._asdict()
            room = fields.pop("room")
            room_id, seq = rooms[room]
            rooms[room] = room_id, seq + 1
            messages[key] = Message(room_id=room_id, seq=seq + 1, **fields)
        Message.objects.bulk_create([messages[key] for key in new])
    return [(messages[draft.key], new.get(draft.key) is draft) for draft in drafts]


def edit_message(room: str, user_id: str, ref: str, seq: int, text: str) -> None:
    """Replace the text of the user's own message. An empty one deletes the message for good.

    The row stays, so that the numbers have no gap. Raises EventError if the message is missing,
    deleted or another user's.
    """
    with transaction.atomic():
        messages = Message.objects.select_for_update(of=("self",)).select_related("room")
        message = messages.filter(room__name=room, seq=seq).exclude(text="").first()
        if message is None:
            detail = gettext("There is no such message, or it was deleted.")
            raise EventError("not_found", detail, ref)
        if message.user_id != user_id:
            raise EventError("forbidden", gettext("You may change your own messages only."), ref)
        message.text = text
        message.save(update_fields=["text"])


def take_numbers(drafts: list[Draft], each: int = 1) -> dict[str, tuple[int, int]]:
    """Reserve the next numbers of the rooms for the drafts, or none if `each` is 0.

    Returns the key of each room, and its number before. A missing room is created. Raises
    EventError if its user has created too many.
    """
    counts = Counter(draft.room for draft in drafts)
    if not counts:
        return {}
    first = {draft.room: draft for draft in reversed(drafts)}
    # Rooms are locked until the commit, so the order of numbers is the order of commits. Lock them
    # in the order of their names, so that two transactions never wait for each other.
    rows = [
        Room(
            name=name,
            seq=each * counts[name],
            created_by=draft.user_id,
            created_by_name=draft.user_name,
        )
        for name, draft in sorted(first.items())
    ]
    # With those of your own, which then have their defaults.
    fields = [
        field
        for field in Room._meta.local_concrete_fields
        if field.has_default()
        or not (field.primary_key or field.generated or field.has_db_default())
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and len(rows) > 1:
            # A room that another program locks must not hold up the other rooms for long.
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
        cursor.execute(
            f"""
            INSERT INTO {Room._meta.db_table} AS room
                ({", ".join(f'"{field.column}"' for field in fields)})
            VALUES {", ".join([f"({', '.join(['%s'] * len(fields))})"] * len(rows))}
            ON CONFLICT (name) DO UPDATE SET seq = room.seq + excluded.seq
            RETURNING name, id, seq
            """,
            [
                field.get_db_prep_save(field.pre_save(room, add=True), connection)
                for room in rows
                for field in fields
            ],
        )
        rooms = {name: (key, seq - each * counts[name]) for name, key, seq in cursor.fetchall()}
    creators = [first[name] for name, (_, seq) in rooms.items() if seq == 0]
    for draft in sorted(creators, key=attrgetter("user_id")):
        limit_creation(draft.user_id, draft.ref)
    return rooms


def limit_creation(user_id: str, ref: str | None = None) -> None:
    """Raise EventError if the user created more than CHAT_ROOMS_PER_DAY rooms within a day."""
    if connection.vendor == "postgresql":
        # Run one transaction of the user at a time, or each would miss the others' rooms. SQLite
        # has one writer at a time anyway.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [user_id])
    limit, now = settings.CHAT_ROOMS_PER_DAY, timezone.now()
    recent = Room.objects.filter(created_by=user_id, created_at__gt=now - DAY)
    times = recent.order_by("-created_at").values_list("created_at", flat=True)[: limit + 1]
    if len(times) > limit:
        # Lazy, because a batch stores for readers of several languages.
        detail = ngettext_lazy(
            "You may create {limit} room a day. Use an existing room, or try again later.",
            "You may create {limit} rooms a day. Use an existing room, or try again later.",
            limit,
        )
        raise EventError(
            "rate_limited",
            format_lazy(detail, limit=limit),
            ref,
            retry_after=math.ceil((min(times[1:], default=now) + DAY - now).total_seconds()),
        )


{% if cookiecutter.auth != "none" %}
def create_private_room(name: str, owner: Any) -> Room:
    """Create a private room. Raise EventError if the name is taken or the user has too many."""
    with transaction.atomic():
        creator = {"created_by": id_of(owner), "created_by_name": display_name(owner)}
        room, is_new = Room.objects.get_or_create(name=name, defaults=creator)
        if not is_new:
            raise EventError("bad_message", gettext("This name is taken."))
        limit_creation(id_of(owner))
        room.members.create(user=owner, is_owner=True)
        return room


{% endif %}
def find_rooms(rooms: models.QuerySet[Room], text: str) -> models.QuerySet[Room]:
    """Return the rooms whose names contain the text, each with the number of its `stored` messages.

    Case is ignored: in every script by PostgreSQL, in ASCII only by SQLite.
    """
    oldest = Message.objects.filter(room=OuterRef("pk")).order_by("seq").values("seq")[:1]
    rooms = rooms.annotate(stored=Coalesce(F("seq") + 1 - Subquery(oldest), 0))
    return rooms.filter(name__icontains=text) if text else rooms


def latest_seqs(rooms: Collection[str]) -> dict[str, int]:
    """Return the number of the latest message of each room that has one."""
    return dict(Room.objects.filter(name__in=rooms).order_by().values_list("name", "seq"))


def messages_after(room: str, after: int) -> Iterator[Message]:
    """Yield the messages with a greater number, oldest first."""
    return iterate(Message.objects.filter(room__name=room, seq__gt=after), "seq", ROWS)


def messages_before(room: str, before: int, after: int = 0) -> Iterator[Message]:
    """Yield the messages with `after < seq < before`, newest first."""
    messages = Message.objects.filter(room__name=room, seq__gt=after, seq__lt=before)
    return iterate(messages, "-seq", ROWS)


def edits_until(room: str, until: int) -> list[dict[str, Any]] | None:
    """Return the `edited` events of the messages with `seq <= until`, the latest edits first.

    Returns None if a client that has the message `until` may miss more than are sent.
    """
    messages = Message.objects.filter(room__name=room, seq__lte=until)
    edited = messages.filter(edited_at__isnull=False).order_by("-edited_at")
    events: list[dict[str, Any]] = []
    size = 0
    for message in edited[: MAX_EDITS + 1]:
        event = message.edited_event()
        size += len(encode(event).encode())
        if len(events) == MAX_EDITS or size > MAX_EDITS_BYTES:
            # A client has received the edits before its latest message.
            at = messages.filter(seq=until).values_list("at", flat=True).first()
            recent = edited.filter(edited_at__gt=at - CLOCKS) if at else edited
            return None if recent[len(events) :].exists() else events
        events.append(event)
    return events


def find_edits(places: list[tuple[str, int]]) -> list[list[dict[str, Any]] | None]:
    """Return the edits until each place, which is a room and a number."""
    edited = Message.objects.filter(room=OuterRef("pk"), edited_at__isnull=False)
    rooms = Room.objects.filter(Exists(edited), name__in={room for room, _ in places})
    names = set(rooms.order_by().values_list("name", flat=True))  # most rooms have none
    found = {place: edits_until(*place) for place in set(places) if place[0] in names}
    return [found.get(place, []) for place in places]


# Those who come back at the same time share a query.
latest_edits, alatest_edits = in_batches(find_edits, pause=0.005)
