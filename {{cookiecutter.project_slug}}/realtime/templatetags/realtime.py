"""Template tag `socket_path`, the counterpart of `url` for sockets. Load it by `realtime`."""

from django.template import Library

from realtime.routing import socket_path

register = Library()
register.simple_tag(socket_path)
