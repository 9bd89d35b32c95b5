"""A changed OpenAPI document: what would fail its old clients is named, what would not is let pass."""

import copy
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.urls import path
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.contracts.http_api import api_breaks

ITEM = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "state": {"enum": ["new", "old"]},
        "note": {"type": ["string", "null"]},
        "parent": {"$ref": "#/components/schemas/Item"},
    },
    "required": ["id", "state"],
}
JSON = "application/json"
RELEASED: dict[str, Any] = {
    "paths": {
        "/items/": {
            "get": {
                "parameters": [{"in": "query", "name": "page", "schema": {"type": "integer"}}],
                "responses": {
                    "200": {"content": {JSON: {"schema": {"type": "array", "items": {"$ref": "#/x/Item"}}}}},
                    "404": {"content": {JSON: {"schema": {"type": "object"}}}},
                },
            },
            "post": {
                "requestBody": {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Item"}}}},
                "responses": {"201": {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Item"}}}}},
            },
        }
    },
    "components": {"schemas": {"Item": ITEM}},
}


class ThingsView(APIView):
    """What the command is asked about."""

    schema = AutoSchema()
    serializer_class = serializers.Serializer

    def get(self, request: Request) -> Response:
        """Nothing is there."""
        return Response({})


urlpatterns = [path("things/", ThingsView.as_view())]
Change = Callable[[Any, Any, Any], object]


def parameter(get: Any) -> Any:
    return get["parameters"][0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda get, post, item: None, [], id="nothing"),
        pytest.param(lambda get, post, item: item["properties"].update(colour={"type": "string"}), [], id="more told"),
        pytest.param(lambda get, post, item: get["responses"].pop("404"), [], id="an error less"),
        pytest.param(
            lambda get, post, item: get["parameters"].append({"in": "query", "name": "size", "schema": {}}), [],
            id="a further parameter",
        ),
        pytest.param(
            lambda get, post, item: get["parameters"].append({"in": "query", "name": "size", "required": True}),
            ["GET /items/ query size $: required"], id="a required parameter",
        ),
        pytest.param(
            lambda get, post, item: get["parameters"].clear(), ["GET /items/ query page $: removed"],
            id="a parameter less",
        ),
        pytest.param(
            lambda get, post, item: parameter(get)["schema"].update(maximum=9), ["GET /items/ query page $: maximum"],
            id="a narrower parameter",
        ),
        pytest.param(
            lambda get, post, item: item["required"].remove("id"),
            ["GET /items/ 200 application/json $[*].id: required", "POST /items/ 201 application/json $.id: required"],
            id="what was promised may be missing",
        ),
        pytest.param(
            lambda get, post, item: item["required"].append("note"),
            ["POST /items/ request application/json $.note: required"], id="what could be left out must be sent",
        ),
        pytest.param(
            lambda get, post, item: item["properties"]["state"]["enum"].append("lost"),
            ["GET /items/ 200 application/json $[*].state: enum", "POST /items/ 201 application/json $.state: enum"],
            id="a value that nobody expects",
        ),
        pytest.param(
            lambda get, post, item: item["properties"]["state"]["enum"].remove("old"),
            ["POST /items/ request application/json $.state: enum"], id="a value that is refused",
        ),
        pytest.param(
            lambda get, post, item: post["responses"].update({"202": post["responses"].pop("201")}),
            ["POST /items/ 201 application/json $: removed"], id="another status",
        ),
        pytest.param(
            lambda get, post, item: post["requestBody"].update(required=True), ["POST /items/ request $: required"],
            id="a body that must be there",
        ),
    ],
)  # fmt: skip
def test_what_would_fail_old_clients_is_named(change: Change, named: list[str]) -> None:
    changed = copy.deepcopy(RELEASED)
    item = changed["components"]["schemas"]["Item"]
    change(changed["paths"]["/items/"]["get"], changed["paths"]["/items/"]["post"], item)
    assert [f"{each.path}: {each.rule}" for each in api_breaks(RELEASED, changed)] == named


def test_an_operation_that_is_gone_is_named() -> None:
    found = [(each.path, each.rule) for each in api_breaks(RELEASED, {"paths": {"/items/": {}}})]
    assert found == [("GET /items/", "removed"), ("POST /items/", "removed")]


def test_the_command_releases_an_api_and_refuses_its_break_with_3(tmp_path: Path) -> None:
    def run(*args: str) -> dict[str, Any]:
        out = StringIO()
        with override_settings(ROOT_URLCONF=__name__, MIGRATION_TOOLS={"SIDE": "here"}):
            call_command("strangle_contracts", *args, "--api", "--format", "json", "--directory", str(tmp_path),
                         stdout=out)  # fmt: skip
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    with pytest.raises(CommandError, match="no API is released"):
        run("check")
    with pytest.raises(CommandError, match="--api goes with check and release"):
        run("write")
    assert len(run("release")["written"]) == 1
    assert run("check")["breaks"] == run("release")["written"] == []
    file = tmp_path / "api" / "here.json"
    document = json.loads(file.read_text())
    document["paths"]["/api/gone/"] = {"get": {"responses": {}}}
    file.write_text(json.dumps(document))
    for action in ("check", "release"):
        with pytest.raises(CommandError, match="serve the next version at an address of its own") as caught:
            run(action)
        assert caught.value.returncode == 3
    assert json.loads(file.read_text()) == document
