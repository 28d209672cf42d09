"""The HTTP paths of the chat."""

from django.urls import path

from chat import {{ "views" if cookiecutter.auth == "none" else "member_views, views" }}

urlpatterns = [
{% if cookiecutter.auth != "none" %}
    path("private/", member_views.new_room, name="new_room"),
    path("chat/<room:room>/members/", member_views.members, name="members"),
    path("chat/<room:room>/members/<int:pk>/", member_views.remove, name="remove_member"),
{% endif %}
    path("rooms/", views.numbers, name="room_numbers"),
    path("chat/<room:room>/", views.room, name="room"),
    path("chat/<room:room>/messages/", views.messages, name="messages"),
]
