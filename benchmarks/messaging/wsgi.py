"""The shop's web application, for its feed."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
