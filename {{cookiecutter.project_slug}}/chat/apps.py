from django.apps import AppConfig
from django.urls import register_converter
from django.utils.translation import gettext_lazy as _

from chat.converters import RoomConverter


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
{% if cookiecutter.auth != "none" %}
        from chat import access  # noqa: F401

{% endif %}
        register_converter(RoomConverter, "room")
