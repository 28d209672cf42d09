"""Pages of devices. Values also come through the sockets."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from devices.access import may_command
from devices.commands import send_command
from devices.forms import CommandForm
from devices.models import Device
from realtime.history import parse_number
from realtime.identity import display_name
from realtime.keyset import paginate

DEVICES, READINGS = 50, 20  # on one page
COMMANDS = 10  # the latest ones


@require_safe
def devices(request: HttpRequest) -> HttpResponse:
    """List the devices, page by page. A page begins after the device `?after=`, or ends before."""
    after, before = (request.GET.get(key, "").replace("\0", "") for key in ("after", "before"))
    page = paginate(Device.objects.all(), "name", DEVICES, after=after, before=before)
    return render(request, "devices/devices.html", {"page": page})


@require_safe
def device(request: HttpRequest, name: str) -> HttpResponse:
    """Show a device. The table has the readings older than `?after=`, or newer than `?before=`."""
    return show(request, get_object_or_404(Device, name=name), CommandForm())


@require_POST
def command(request: HttpRequest, name: str) -> HttpResponse:
    """Send a command to a device. Raise PermissionDenied unless the user may."""
    user = user_of(request)
    if not may_command(user):
        raise PermissionDenied
    device, form = get_object_or_404(Device, name=name), CommandForm(request.POST)
    if not form.is_valid():
        return show(request, device, form, status=400)
    send_command(device, form.cleaned_data["text"], display_name(user))
    return redirect(device)


def show(
    request: HttpRequest, device: Device, form: CommandForm, *, status: int = 200
) -> HttpResponse:
    after, before = (number_of(request, key) for key in ("after", "before"))
    context = {
        "device": device,
        "form": form,
        "may_command": may_command(user_of(request)),
        "commands": device.commands.order_by("-pk")[:COMMANDS],
        "page": paginate(device.readings.all(), "-seq", READINGS, after=after, before=before),
    }
    return render(request, "devices/device.html", context, status=status)


def number_of(request: HttpRequest, key: str) -> int | None:
    """Return a number of the URL, or None if it is missing or invalid."""
    try:
        return parse_number(request.GET.get(key, ""))
    except ValueError:
        return None


def user_of(request: HttpRequest) -> Any:
    return {{ "request.guest  # type: ignore[attr-defined]" if cookiecutter.auth == "none" else "request.user" }}
