"""Pages of private rooms: create one, add and remove members."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from chat.forms import NewMemberForm, NewRoomForm
from chat.models import Member, create_private_room
from chat.names import PRIVATE
from realtime.protocol import EventError


@require_http_methods(["GET", "HEAD", "POST"])
def new_room(request: HttpRequest) -> HttpResponse:
    """Create a private room, and lead its owner to the page of its members."""
    form = NewRoomForm(request.POST or None)
    if form.is_valid():
        try:
            room = create_private_room(PRIVATE + form.cleaned_data["name"], request.user)
        except EventError as error:
            form.add_error("name", error.detail)
        else:
            return redirect("members", room=room.name)
    return render(request, "chat/new_room.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def members(request: HttpRequest, room: str) -> HttpResponse:
    """List the members of a private room. An owner adds one by a POST."""
    me = get_object_or_404(Member, room__name=room, user=request.user)
    form = NewMemberForm(request.POST or None) if me.is_owner else None
    if form and form.is_valid():
        me.room.members.get_or_create(user=form.cleaned_data["user"])
        return redirect("members", room=room)
    listed = me.room.members.select_related("user").order_by("pk")
    context = {"room": me.room, "me": me, "members": listed, "form": form}
    return render(request, "chat/members.html", context)


@require_POST
def remove(request: HttpRequest, room: str, pk: int) -> HttpResponse:
    """Remove a member. Owners remove others, and anyone but an owner may leave."""
    me = get_object_or_404(Member, room__name=room, user=request.user)
    removable = me.room.members.filter(is_owner=False)
    if not me.is_owner:
        removable = removable.filter(pk=me.pk)
    get_object_or_404(removable, pk=pk).delete()
    return redirect("members", room=room) if me.is_owner else redirect("home")
