"""The context map as a file: contexts.toml, read, checked whole, and every mistake reported at once."""

import datetime as dt
import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings

from migration_tools.analysis.context_map import (
    Context,
    ContextMap,
    Exemption,
    all_tables,
    by_app_labels,
    is_frameworks,
    tables_of,
)
from migration_tools.analysis.rules import RULES
from migration_tools.conf import settings
from migration_tools.errors import AnalysisError

KEYS = ("apps", "models", "tables", "code", "owner", "team", "store", "services", "framework")
TEXTS = ("owner", "team", "store")


@dataclass(frozen=True, kw_only=True)
class MapMistake:
    """One thing wrong with contexts.toml; `id` is that of the system check that says it."""

    id: str
    text: str


def path_of_map() -> Path:
    """Where the settings say that the map is."""
    return path_in_project(settings().CONTEXTS)


def path_in_project(path: str) -> Path:
    """A path of the settings: below BASE_DIR, or below where the process runs."""
    return Path(getattr(django_settings, "BASE_DIR", ".")) / path


def load_contexts(path: Path | None = None) -> ContextMap:
    """Read the map of the settings or of `path`; without a file the app labels are the contexts.

    Raises:
        AnalysisError: the file has mistakes; all of them are in the message.
    """
    document = read_document(path or path_of_map())
    if document is None:
        return by_app_labels()
    mistakes = list(find_map_mistakes(document))
    if mistakes:
        lines = "\n".join(f"  {number}. {each.text}" for number, each in enumerate(mistakes, 1))
        raise AnalysisError(f"the context map {str(path or path_of_map())!r} cannot be used:\n{lines}")
    contexts = document["contexts"]
    claims = _claims(contexts)
    made = [
        _context(name, given, [table for table, (owner, *_) in claims.items() if owner == name])
        for name, given in contexts.items()
    ]
    exemptions = [Exemption(**given) for given in document.get("exemptions", [])]
    return ContextMap(made, ignored=document.get("ignore", ()), exemptions=exemptions)


def read_document(path: Path) -> Mapping[str, Any] | None:
    """Parse the file; None if there is none.

    Raises:
        AnalysisError: it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return None
    except tomllib.TOMLDecodeError as error:
        raise AnalysisError(f"the context map {path.name!r} is not TOML: {error}") from error


def find_map_mistakes(document: Mapping[str, Any]) -> Iterator[MapMistake]:
    """What is wrong with a context map.

    E120: the context map is not understood. E121: a table is in no context of the map, or in two. E122: a context of
    the map has no owner or no team. E123: an exemption of the guard lacks its rule, function, issue or day of expiry.
    """
    contexts = document.get("contexts")
    if not isinstance(contexts, Mapping) or not contexts:
        yield MapMistake(id="strangle.E120", text="it has no [contexts.<name>] table")
        return
    shaped = True
    for key in document:
        if key not in ("contexts", "ignore", "exemptions"):
            text = f"it has an unknown key {key!r}; it may have ignore, [contexts.<name>] and [[exemptions]]"
            yield MapMistake(id="strangle.E120", text=text)
    for text in exemption_mistakes(document.get("exemptions", [])):
        yield MapMistake(id="strangle.E123", text=text)
    for name, given in contexts.items():
        for text in _shape_mistakes(name, given):
            shaped = False
            yield MapMistake(id="strangle.E120", text=text)
    if not shaped:
        return
    claims = _claims(contexts)
    for name, given in contexts.items():
        framework = _is_framework(given)
        for key in ("owner", "team"):
            if not given.get(key) and not framework:
                yield MapMistake(id="strangle.E122", text=f'context {name!r} has no {key}; write {key} = "…"')
    for table, label in sorted(all_tables().items()):
        claimed = claims.get(table, [])
        if not claimed:
            text = f"table {table!r} of app {label!r} is in no context; name the app, the model or the table in one"
            yield MapMistake(id="strangle.E121", text=text)
        elif len(claimed) > 1:
            yield MapMistake(id="strangle.E121", text=f"table {table!r} is in {claimed}; a table has one context")


def _shape_mistakes(name: str, given: Any) -> Iterator[str]:
    if not isinstance(given, Mapping):
        yield f"context {name!r} is {type(given).__name__}; it must be a table"
        return
    for key, value in given.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            yield f"context {name!r} has an unknown key {key!r}; " + (
                f"did you mean {near[0]!r}?" if near else f"it may have {', '.join(KEYS)}"
            )
        elif not isinstance(value, kind := str if key in TEXTS else bool if key == "framework" else list):
            said = {str: "a text", bool: "true or false", list: "a list"}[kind]
            yield f"context {name!r}: {key!r} is {value!r}; it must be {said}"
    for label in given.get("apps", ()):
        if label not in apps.app_configs:
            near = difflib.get_close_matches(str(label), apps.app_configs, n=1)
            yield f"context {name!r} names app {label!r}, which is not installed" + (
                f"; did you mean {near[0]!r}?" if near else f"; installed are {sorted(apps.app_configs)}"
            )
    for label in given.get("models", ()):
        try:
            apps.get_model(label)
        except (LookupError, ValueError):
            yield f"context {name!r} names model {label!r}, which is not installed; write 'app_label.Model'"


def exemption_mistakes(given: Any) -> Iterator[str]:
    """What is wrong with [[exemptions]]: each names a rule and a function, an issue by its URL, and the day it ends."""
    if not isinstance(given, list):
        yield "exemptions must be [[exemptions]] tables"
        return
    keys = {"rule", "function", "issue", "expires"}
    for number, each in enumerate(given, 1):
        where = f"exemption {number}"
        if not isinstance(each, Mapping) or set(each) != keys:
            yield f"{where} must have {', '.join(sorted(keys))}, and nothing else"
            continue
        if each["rule"] not in RULES:
            yield f"{where} names rule {each['rule']!r}; known are {', '.join(RULES)}"
        if not str(each["issue"]).startswith(("https://", "http://")):
            yield f"{where}: issue is {each['issue']!r}; it must be the URL of the issue that ends it"
        if not isinstance(each["expires"], dt.date) or isinstance(each["expires"], dt.datetime):
            yield f"{where}: expires is {each['expires']!r}; write a day, like 2027-01-31"


def _claims(contexts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Table → contexts that claim it; a model or table named by itself is taken out of its app, wherever that is."""
    claims: dict[str, list[str]] = {}
    for name, given in contexts.items():
        named = [apps.get_model(label)._meta.db_table for label in given.get("models", ())]
        for table in dict.fromkeys([*named, *given.get("tables", ())]):
            claims.setdefault(table, []).append(name)
    single = set(claims)
    for name, given in contexts.items():
        for label in given.get("apps", ()):
            for table in tables_of(apps.get_app_config(label)):
                if table not in single:
                    claims.setdefault(table, []).append(name)
    return claims


def _is_framework(given: Mapping[str, Any]) -> bool:
    labels = given.get("apps", ())
    if "framework" in given:
        return bool(given["framework"])
    return bool(labels) and all(is_frameworks(apps.get_app_config(label)) for label in labels)


def _context(name: str, given: Mapping[str, Any], tables: list[str]) -> Context:
    code = given.get("code") or [apps.get_app_config(label).name for label in given.get("apps", ())]
    return Context(
        name=name,
        tables=tuple(tables),
        code=tuple(code),
        owner=given.get("owner", ""),
        team=given.get("team", ""),
        store=given.get("store", "postgresql"),
        services=tuple(given.get("services", ())),
        framework=_is_framework(given),
    )
