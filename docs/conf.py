"""How the documentation becomes a site: `make docs`; every warning is an error."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "legacy_monolith.settings")

project = "django-strangler"
author = "django-strangler contributors"
extensions = ["myst_parser", "generated"]
# The sources are the repository's own pages where they lie, so that links between them work here and there alike.
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/**/*.md",
    "playbooks/runbooks/*.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "proxy/README.md",
    "demo/README.md",
    "extracted_services/README.md",
    "extracted_services/*/README.md",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "django-strangler"
html_show_sphinx = False
# Blocks of output and of menus are no language.
highlight_language = "text"
suppress_warnings = ["misc.highlighting_failure"]
