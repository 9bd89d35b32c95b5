"""The kinds of reports, the version that each model is at, and the formats that each is rendered in."""

import json
from enum import StrEnum
from importlib.resources import files
from typing import Any


class Kind(StrEnum):
    """What a report is about; `kind` of its JSON form."""

    ANALYZE = "analyze"  # what couples the contexts, and whether to cut
    VERIFY = "verify"  # what differs between both sides
    SHADOW = "shadow"  # what differs between both sides' answers
    CUTOVER = "cutover"  # every hand-over, with how long writers waited
    AUDIT = "audit"  # what was done to a context, and whether its evidence holds


class Format(StrEnum):
    """What every kind can be rendered as; some kinds know more."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"
    JUNIT = "junit"


#: A number grows when a program that reads the present JSON form could fail at the next; a new key does not do that.
VERSIONS = dict.fromkeys(Kind, 1)


def schema_of(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of a kind's JSON form, at its present version."""
    found = files("migration_tools.reports").joinpath(f"schemas/{kind}-{VERSIONS[kind]}.json")
    return dict(json.loads(found.read_text(encoding="utf-8")))
