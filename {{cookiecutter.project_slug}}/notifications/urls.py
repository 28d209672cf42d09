"""The HTTP paths of notifications."""

from django.urls import path

from notifications import views

urlpatterns = [
    path("notifications/", views.notifications, name="notifications"),
    path("notifications/read/", views.read, name="read_notifications"),
    path("notifications/<int:pk>/", views.open_notification, name="notification"),
]
