"""Pages of the chat, and its history as JSON."""

{% if cookiecutter.auth != "none" %}
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
{% endif %}
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch
from django.views.decorators.http import require_safe

{% if cookiecutter.auth == "none" %}
from chat.models import Room, find_rooms, latest_seqs, messages_after, messages_before
from chat.names import MAX_NAME, RULE
{% else %}
from chat.access import check_entry, listed_rooms, visible_rooms, visible_seqs
from chat.models import find_rooms, messages_after, messages_before
from chat.names import MAX_NAME, RULE, is_private
{% endif %}
from realtime.history import page_of, parse_number
from realtime.keyset import paginate

MAX_MESSAGES = 500  # in one answer of the history
ROOMS_PER_PAGE = 50  # on one page of the list
ROOMS_BESIDE = 30  # beside the messages, and in one answer of their numbers


{% if cookiecutter.auth != "none" %}
@login_not_required
{% endif %}
@require_safe
def rooms(request: HttpRequest) -> HttpResponse:
    """List the rooms, page by page; `?q=` finds them by a part of their names.

    A page begins after the room `?after=`, or ends before `?before=`. `?room=` goes to the room of
    that name.{{ " Strangers see what the site is instead." if cookiecutter.auth != "none" }}
    """
{% if cookiecutter.auth != "none" %}
    if not request.user.is_authenticated:
        return render(request, "chat/welcome.html", {"signup_open": settings.SIGNUP_OPEN})
{% endif %}
    name, error = request.GET.get("room"), ""
    if name is not None:
        try:
            return redirect("room", room=name.strip())
        except NoReverseMatch:
            error = str(RULE)
    query, after, before = (text_of(request, key) for key in ("q", "after", "before"))
    query = query.strip()
    listed = find_rooms({{ "Room.objects.all()" if cookiecutter.auth == "none" else "visible_rooms(request.user)" }}, query)
    page = paginate(listed, "name", ROOMS_PER_PAGE, after=after, before=before)
{% if cookiecutter.auth == "none" %}
    context = {"page": page, "query": query, "error": error}
{% else %}
    context = {"page": page, "query": query, "error": error, "open_rooms": settings.CHAT_OPEN_ROOMS}
{% endif %}
    return render(request, "chat/{{ "rooms" if cookiecutter.auth == "none" else "visible_rooms" }}.html", context)


def text_of(request: HttpRequest, key: str) -> str:
    """Return a parameter of the URL without characters that no room's name can have."""
    return request.GET.get(key, "").replace("\0", "")[:MAX_NAME]


@require_safe
def room(request: HttpRequest, room: str) -> HttpResponse:
    """Render the page of a room. Its messages come through the socket."""
{% if cookiecutter.auth == "none" %}
    listed = Room.objects.values_list("name", flat=True)[:ROOMS_BESIDE]
    context = {"room": room, "rooms": sorted({room, *listed}, key=str.lower)}
    return render(request, "chat/room.html", context)
{% else %}
    check_entry(request.user, room)
    listed = listed_rooms(request.user, ROOMS_BESIDE)
    context = {"room": room, "rooms": sorted({room, *listed}, key=str.lower)}
    template = "chat/private_room.html" if is_private(room) else "chat/room.html"
    return render(request, template, context)
{% endif %}


@require_safe
def numbers(request: HttpRequest) -> HttpResponse:
    """Return the number of the latest message of each `?room=`{{ "" if cookiecutter.auth == "none" else " that the user may enter" }}."""
    names = [name.replace("\0", "") for name in request.GET.getlist("room")[:ROOMS_BESIDE]]
{% if cookiecutter.auth == "none" %}
    return JsonResponse({"rooms": latest_seqs(names)})
{% else %}
    return JsonResponse({"rooms": visible_seqs(request.user, names)})
{% endif %}


@require_safe
def messages(request: HttpRequest, room: str) -> HttpResponse:
    """Return the messages after `?after=`, or the last before `?before=`, with `more`.

    The oldest come first, at most `?limit=` and as many as fit into a page. `more` is true if the
    history continues.
    """
{% if cookiecutter.auth != "none" %}
    check_entry(request.user, room)
{% endif %}
    backwards = "before" in request.GET
    try:
        seq = parse_number(request.GET.get("before" if backwards else "after", "0"))
        limit = parse_number(request.GET.get("limit", str(MAX_MESSAGES)))
    except ValueError as error:
        return JsonResponse({"error": f"{error}."}, status=400)
    found = messages_before(room, seq) if backwards else messages_after(room, seq)
    page, more = page_of((message.event() for message in found), min(limit, MAX_MESSAGES))
    if backwards:
        page.reverse()
    body = b'{"messages":[%b],"more":%b}' % (b",".join(page), b"true" if more else b"false")
    return HttpResponse(body, content_type="application/json")
