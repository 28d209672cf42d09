"""The HTTP paths of the chat."""

from django.urls import path

from chat import views

urlpatterns = [
    path("chat/<room:room>/", views.room, name="room"),
    path("chat/<room:room>/messages/", views.messages, name="messages"),
]
