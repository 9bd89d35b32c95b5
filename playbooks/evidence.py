"""The gates of this shop's playbooks: strict in life, brisk in the demonstration."""

import datetime as dt
import os

from migration_tools.playbook import Gates, seconds

DEMO = os.environ.get("STRANGLE_DEMO") == "1"


def gates(context: str) -> Gates:
    """What each move of the context must show; `<CONTEXT>_SOAK_SECONDS` and `_QUIET_SECONDS` say otherwise."""
    return Gates(
        max_lag=seconds(2),
        clean_verifications=2,
        soak=_seconds(context, "SOAK", "3" if DEMO else "1800"),
        quiet=_seconds(context, "QUIET", "3" if DEMO else "600"),
    )


def _seconds(context: str, what: str, default: str) -> dt.timedelta:
    return seconds(float(os.environ.get(f"{context.upper()}_{what}_SECONDS", default)))
