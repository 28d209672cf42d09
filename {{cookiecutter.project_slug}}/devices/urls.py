"""The HTTP paths of devices."""

from django.urls import path

from devices import views

urlpatterns = [
    path("devices/", views.devices, name="devices"),
    path("devices/<slug:name>/", views.device, name="device"),
    path("devices/<slug:name>/commands/", views.command, name="command_device"),
]
