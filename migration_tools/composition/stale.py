"""The last good answer of a part, kept in Django's cache and given when its source fails: stale-if-error."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache

from migration_tools.composition.declaration import Part


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A value and how old it is."""

    value: Any
    age_seconds: float


def key_of(composition: str, part: Part, values: Mapping[str, Any], caller: str) -> str:
    """Where a part's answer is kept: by request values and caller, since one caller's data is not another's."""
    said = json.dumps(
        [composition, part.name, part.source, part.path, dict(values), caller], sort_keys=True, default=str
    )
    return f"strangle:composed:{hashlib.sha256(said.encode()).hexdigest()}"


def keep(key: str, value: Any, seconds: float) -> None:
    """Remember an answer that was just had."""
    cache.set(key, (time.time(), value), seconds)


def forget(key: str) -> None:
    """The source says that there is nothing: an old answer must not come back."""
    cache.delete(key)


async def kept(key: str) -> Kept | None:
    """The answer, unless it is too old or was never had."""
    found = await cache.aget(key)
    if found is None:
        return None
    since, value = found
    return Kept(value=value, age_seconds=max(time.time() - since, 0.0))
