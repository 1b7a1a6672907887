"""The web process. In embedded mode it dispatches too, in a thread started here, that is after gunicorn's fork."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from mercury import checks
from mercury.lib.database import database_bounds
from mercury.lib.runtime import event_loop
from mercury.middleware.unreadable_headers import LenientRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mercury.settings")
application = get_wsgi_application()
application.request_class = LenientRequest
checks.refuse_start()  # whatever the server is; gunicorn.conf.py asks about its addresses too
event_loop.trim_memory()
database_bounds.waits.default = database_bounds.STREAM  # what is not a request: an answer that is sent piece by piece

from mercury import openapi

openapi.build_schema()

if settings.MERCURY_EMBEDDED:
    from mails.worker import resident_dispatcher  # needs the apps, which are ready only now

    resident_dispatcher.start_embedded()
