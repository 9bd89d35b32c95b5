"""The WSGI entry point of the recommendations service."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "extracted_services.recommendations.settings")

application = get_wsgi_application()
