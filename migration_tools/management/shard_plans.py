"""What strangle_shard --dry-run says: each task's plan in sentences."""

from collections import Counter
from typing import Any


def would(task: str, name: str, found: dict[str, Any]) -> list[str]:
    """Sentences for what a task found that it would do; `found` is what it prints as JSON."""
    match task:
        case "init":
            shares = Counter(found["would_be_on"].values())
            where = ", ".join(f"{count} on {shard!r}" for shard, count in sorted(shares.items()))
            return [
                f"Would install the guard on every shard, and make map {name!r} by {found['strategy']} where there is "
                f"none, with {found['count']} buckets: {where}."
            ]
        case "add":
            moves = [_moved(name, each) for each in found["buckets"]]
            return ["Would install the guard on the shard.", *(moves or ["It has its share: no bucket would move."])]
        case "move":
            return [_moved(name, found)]
        case "split":
            return [
                f"Would cut range {found['bucket']} of map {name!r} on {found['shard']!r}, which begins at "
                f"{found['low']}, in two: keys from {found['would_be_cut_at']} on become a bucket of their own."
            ]
        case _:
            return [
                f"Would join range {found['bucket']} of map {name!r} on {found['shard']!r}, which begins at "
                f"{found['low']}, to the one below it."
            ]


def _moved(name: str, found: dict[str, Any]) -> str:
    if found["from"] == found["to"]:
        return f"Bucket {found['bucket']} of map {name!r} is on {found['to']!r} already."
    return f"Would move bucket {found['bucket']} of map {name!r} from {found['from']!r} to {found['to']!r}."
