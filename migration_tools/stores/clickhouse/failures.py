"""What ClickHouse said, without the values of rows that its messages quote."""

import re

from migration_tools.errors import StoreAway, StoreError

_CODE = re.compile(r"Code: (\d+)")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{3,})\)")


def failure(error: Exception) -> StoreError:
    """A StoreError with the code and name of what went wrong."""
    text = str(error)
    code, names = _CODE.search(text), _NAME.findall(text)
    if code is None:
        return StoreAway(
            f"ClickHouse does not answer ({type(error).__name__}); start it, then run the same command again"
        )
    return StoreError(f"ClickHouse refused: code {code[1]} {names[-1] if names else ''}".rstrip())
