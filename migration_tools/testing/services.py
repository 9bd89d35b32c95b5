"""Hold a service to what it says of itself: tables, answers and contracts; the generated test-suite calls these."""

import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.db.models import Model
from django.test import Client
from django.urls import resolve

from migration_tools.contracts.validation import faults_of
from migration_tools.testing.rows import change_row, make_row, values_of

ROUNDS = 5


class ServiceDiffers(AssertionError):
    """The service is not what it says; the message names the model or address and what differs, without values."""


def assert_round_trip(model: type[Model], *, rounds: int = ROUNDS, seed: int = 0) -> None:
    """Write, read, change and delete random rows; needs the database.

    Raises:
        ServiceDiffers: a column does not hold what was written.
    """
    rows = model._base_manager
    for number in range(seed, seed + rounds):
        # Not for secrets: the same seed must give the same rows.
        choose = random.Random(number)  # noqa: S311
        row = make_row(model, choose)
        _require_equal(row, rows.get(pk=row.pk), number)
        change_row(row, choose)
        _require_equal(row, rows.get(pk=row.pk), number)
        key = row.pk
        row.delete()
        if rows.filter(pk=key).exists():
            raise ServiceDiffers(f"a row of {model._meta.label} that was deleted is there (seed {number})")


def assert_fits_contract(serializer: type[Any], contracts: Path, *, rounds: int = ROUNDS, seed: int = 0) -> None:
    """Hold random rows, as a serializer tells them, to the JSON Schema of their table in a folder; needs the database.

    Raises:
        ServiceDiffers: a row is not what the contract says.
    """
    from rest_framework.renderers import JSONRenderer

    model: type[Model] = serializer.Meta.model
    schema = (contracts / f"{model._meta.db_table}.json").read_text()
    for number in range(seed, seed + rounds):
        row = make_row(model, random.Random(number))  # noqa: S311
        told = json.loads(JSONRenderer().render(serializer(row).data))
        if faults := faults_of(schema, told):
            raise ServiceDiffers(f"a row of {model._meta.label} is not what its contract says: {'; '.join(faults)}")


def assert_answers_as_documented(*models: type[Model], seed: int = 0) -> None:
    """Ask for each model's row, for the list of them, and for one that is gone, at every documented address.

    Needs the database. A model counts as served when a view with a queryset of it answers a list and a row.

    Raises:
        ServiceDiffers: an answer is not what the OpenAPI document says, or a model is not served.
    """
    from drf_spectacular.generators import SchemaGenerator

    generator: Any = SchemaGenerator
    # As it is sent: lazy strings are texts there.
    document = json.loads(json.dumps(generator().get_schema(request=None, public=True), default=str))
    if document["openapi"].startswith("3.0"):
        document = _nullable(document)
    choose = random.Random(seed)  # noqa: S311
    client, served = Client(), set()
    for path, model in _addresses(document, models):
        one = "{" in path
        row, gone = make_row(model, choose), make_row(model, choose)
        key = gone.pk
        gone.delete()
        asked = _filled(path, row.pk)
        answer = client.get(asked)
        if answer.status_code != 200:
            raise ServiceDiffers(f"GET {path} answers {answer.status_code}, not 200")
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        if faults := faults_of(json.dumps({**schema, "components": document["components"]}), answer.json()):
            raise ServiceDiffers(f"GET {path} is not what the document says: {'; '.join(faults)}")
        if one and client.get(_filled(path, key)).status_code != 404:
            raise ServiceDiffers(f"GET {path} of a row that is gone is not answered by 404")
        if not one and not _told(answer.json()):
            raise ServiceDiffers(f"GET {path} tells of no row, and there is one")
        served.add((model, one))
    for model in models:
        for one, what in ((False, "list"), (True, "row")):
            if (model, one) not in served:
                raise ServiceDiffers(f"no documented address answers the {what} of {model._meta.label}")


def _addresses(document: Mapping[str, Any], models: tuple[type[Model], ...]) -> Iterator[tuple[str, type[Model]]]:
    for path, operations in document["paths"].items():
        if "get" in operations:
            view = getattr(resolve(_filled(path, 0)).func, "cls", None)
            model = getattr(getattr(view, "queryset", None), "model", None)
            if model in models:
                yield path, model


def _nullable(node: Any) -> Any:
    """What OpenAPI 3.0 calls nullable, as JSON Schema says it; 3.1 has no such word."""
    if isinstance(node, list):
        return [_nullable(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: _nullable(each) for name, each in node.items() if not (name == "nullable" and each in (True, False))}
    return {"anyOf": [found, {"type": "null"}]} if node.get("nullable") is True else found


def _filled(path: str, key: object) -> str:
    return re.sub(r"\{\w+\}", str(key), path)


def _told(answer: Any) -> list[Any]:
    return list(answer["results"] if isinstance(answer, dict) else answer)


def _require_equal(written: Model, read: Model, seed: int) -> None:
    there, here = values_of(read), values_of(written)
    differing = sorted(name for name in here if here[name] != there[name])
    if differing:
        raise ServiceDiffers(f"{written._meta.label} does not give back {', '.join(differing)} (seed {seed})")
