"""Template tags `socket_path`, the counterpart of `url` for sockets, and `translations_path`.

Load them by `realtime`.
"""

from django.template import Library

from realtime.routing import socket_path
from realtime.translations import translations_path

register = Library()
register.simple_tag(socket_path)
register.simple_tag(translations_path)
