"""WSGI application, for hosts that ask for one: pages without WebSockets.

It also lacks `realtime.proxy` and `realtime.bodies`: the host must overwrite X-Forwarded-Proto, and
limit requests. `python manage.py serve` has everything.
"""

import logging
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
logging.getLogger(__name__).warning("WSGI has no WebSockets. Run: python manage.py serve")
