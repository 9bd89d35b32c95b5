"""The WSGI entry point of the payments service."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "extracted_services.payments.settings")

application = get_wsgi_application()
