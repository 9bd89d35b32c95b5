"""What `celery -A migration_tools.sagas.celery_app worker -Q strangle_sagas` loads, with DJANGO_SETTINGS_MODULE set."""

import django
from django.apps import apps

if not apps.ready:
    django.setup()

from migration_tools.sagas.celery import make_app

app = make_app()
