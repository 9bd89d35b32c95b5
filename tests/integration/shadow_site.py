"""Settings of a monolith with views that try everything a read must not do; served by gunicorn in tests."""

import os

from legacy_monolith.settings import *  # noqa: F403
from legacy_monolith.settings import SECRET_KEY

LEFT_BEHIND = os.environ.get("SHADOW_TEST_DIRECTORY", "")
ROOT_URLCONF = "tests.integration.shadow_urls"
SECRET_KEY_FALLBACKS = [key for key in os.environ.get("SHADOW_TEST_FALLBACKS", "").split() if key != SECRET_KEY]
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = f"{LEFT_BEHIND}/mail"
if os.environ.get("SHADOW_TEST_NAIVE"):
    MIDDLEWARE = [name for name in MIDDLEWARE if "ShadowMiddleware" not in name]  # noqa: F405
