"""The demonstration: the orders context leaves a live shop, forwards, back, and forwards again."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where ``manage.py`` stands and every process of the stack is started."""

OUTPUT = ROOT / "var" / "demo"
"""Where the report, the audit and, after a failure, the logs are left."""
