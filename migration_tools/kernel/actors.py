"""Who acts: the name that journals and logs keep."""

import getpass
import os


def actor() -> str:
    """Who runs this: STRANGLE_ACTOR, else the account's name."""
    return os.environ.get("STRANGLE_ACTOR") or getpass.getuser()
