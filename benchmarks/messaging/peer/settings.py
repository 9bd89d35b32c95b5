"""Its settings: as its documentation has them, on the benchmark's server and broker."""

import os

SECRET_KEY = "benchmark"  # noqa: S105  (signs nothing)
INSTALLED_APPS = ["django_outbox_pattern"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ["STRANGLE_BENCH_PORT"],
        "NAME": os.environ["STRANGLE_BENCH_PEER"],
        "USER": "postgres",
        "PASSWORD": os.environ["STRANGLE_BENCH_PASSWORD"],
        "CONN_MAX_AGE": None,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DJANGO_OUTBOX_PATTERN = {
    "DEFAULT_STOMP_HOST_AND_PORTS": [("127.0.0.1", int(os.environ["STRANGLE_BENCH_STOMP"]))],
    "DEFAULT_STOMP_USERNAME": "strangle",
    "DEFAULT_STOMP_PASSCODE": os.environ["STRANGLE_BENCH_STOMP_PASSWORD"],
}
