"""Every Django application of the toolkit is one that INSTALLED_APPS can name."""

import subprocess
import sys

from tests.architecture.tree import ROOT

APPS = sorted(".".join(file.relative_to(ROOT).parent.parts) for file in (ROOT / "migration_tools").rglob("apps.py"))
#: Each app in a process of its own: where models are imported already, an app that imports them too early passes.
BEGIN = """
import os, sys, traceback
import django
from django.conf import settings
from migration_tools import MONOLITH_APPS

needed = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", *MONOLITH_APPS]
for app in sys.argv[1:]:
    if child := os.fork():
        if os.waitpid(child, 0)[1]:
            print(app)
        continue
    apps = list(dict.fromkeys([app, *needed]))
    try:
        settings.configure(INSTALLED_APPS=apps, DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}})
        django.setup()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
"""


def test_an_app_is_installed_by_its_name_before_any_other_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN, *APPS], capture_output=True, text=True, check=False, cwd=ROOT, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [], done.stderr[-2000:]
    assert len(APPS) > 10
