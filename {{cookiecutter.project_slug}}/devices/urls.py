"""The HTTP paths of devices."""

urlpatterns = []
