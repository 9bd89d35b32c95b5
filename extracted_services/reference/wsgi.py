"""The WSGI entry point of the reference service."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "extracted_services.reference.settings")

application = get_wsgi_application()
