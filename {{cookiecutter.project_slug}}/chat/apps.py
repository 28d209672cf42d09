from django.apps import AppConfig
from django.urls import register_converter

from chat.converters import RoomConverter


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        register_converter(RoomConverter, "room")
