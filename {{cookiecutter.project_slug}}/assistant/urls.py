"""The HTTP paths of the assistant."""

from django.urls import path

from assistant import views

urlpatterns = [
    path("assistant/", views.conversations, name="conversations"),
    path("assistant/<int:pk>/", views.conversation, name="conversation"),
    path("assistant/<int:pk>/delete/", views.delete, name="delete_conversation"),
]
