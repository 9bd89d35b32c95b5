"""A service's skeleton: models, serializers, read API, settings, contracts; what it writes passes lint and types."""

import json
import re
from collections.abc import Mapping
from textwrap import dedent
from typing import Any

from migration_tools.generation.shape import Column, Shape
from migration_tools.generation.suites import render_service_tests

JSON_TYPES: Mapping[str, dict[str, Any]] = {
    "BooleanField": {"type": "boolean"},
    "FloatField": {"type": "number"},
    "DecimalField": {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"},
    "DateField": {"type": "string", "format": "date"},
    "DateTimeField": {"type": "string", "format": "date-time"},
    "UUIDField": {"type": "string", "format": "uuid"},
    "JSONField": {},
}


def render_service(context: str, package: str, shapes: list[Shape]) -> dict[str, str]:
    """File → text, below the service's folder; schema migrations are made by its own `makemigrations`."""
    label = package.rpartition(".")[2]
    return {
        "__init__.py": f'"""The {context} service."""\n',
        "apps.py": _apps(context, package, label),
        "models.py": _models(context, shapes),
        "serializers.py": _serializers(context, shapes),
        "api.py": _api(context, shapes),
        "urls.py": _urls(context, package),
        "settings.py": _settings(context, package),
        "migrations/__init__.py": f'"""Schema migrations of {context}."""\n',
        **{f"contracts/{shape.table}.json": _contract(shape) for shape in shapes},
        **render_service_tests(context, package, shapes),
    }


def _apps(context: str, package: str, label: str) -> str:
    return dedent(
        f'''\
        """The Django application of the {context} service."""

        from django.apps import AppConfig


        class ServiceConfig(AppConfig):
            """Registers the models."""

            name = "{package}"
            label = "{label}_service"
            default_auto_field = "django.db.models.BigAutoField"
        '''
    )


def _models(context: str, shapes: list[Shape]) -> str:
    parts = [f'"""The tables of {context}; no key leads outside."""\n\nfrom django.db import models\n']
    for shape in shapes:
        lines = [
            "",
            "",
            f"class {shape.name}(models.Model):",
            f'    """What the monolith kept as {shape.source}."""',
            "",
        ]
        lines += [f"    {column.field} = {_declared(column)}" for column in shape.columns]
        lines += ["", "    class Meta:", f'        db_table = "{shape.table}"', *_constraints(shape)]
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _constraints(shape: Shape) -> list[str]:
    if not shape.unique:
        return []
    lines = ["        constraints = ["]
    for number, fields in enumerate(shape.unique, 1):
        names = ", ".join(f'"{name}"' for name in fields)
        options = [f"fields=[{names}]", f'name="{shape.table[:50]}_uniq{number}"']
        head, inner = "            models.UniqueConstraint(", ", ".join(options)
        if len(head) + len(inner) + 2 <= 120:
            lines.append(f"{head}{inner}),")
        else:
            split = [inner] if len(inner) <= 104 else [f"{each}," for each in options]
            lines += [head, *(f"                {each}" for each in split), "            ),"]
    return [*lines, "        ]"]


def _declared(column: Column) -> str:
    """The declaration, on lines of its own where it is long."""
    code = column.code.replace("'", '"')
    if len(code) + len(column.field) + 7 <= 115:
        return code
    head, _, rest = code.partition("(")
    return head + "(\n" + "".join(f"        {each},\n" for each in rest[:-1].split(", ")) + "    )"


def _serializers(context: str, shapes: list[Shape]) -> str:
    names = ", ".join(sorted((shape.name for shape in shapes), key=str.lower))
    text = [
        f'"""{context.title()} as JSON."""\n\nfrom typing import Any\n\nfrom rest_framework import serializers\n\n'
        f"{_import('.models', names)}\n"
    ]
    for shape in shapes:
        fields = ", ".join(f'"{column.field}"' for column in shape.columns)
        text.append(
            f"\n\nclass {shape.name}Serializer(serializers.ModelSerializer[Any]):\n"
            f'    """All columns of {shape.table}."""\n\n    class Meta:\n        model = {shape.name}\n'
            f"        fields = {_listed(fields)}\n"
        )
    return "".join(text)


def _api(context: str, shapes: list[Shape]) -> str:
    models = ", ".join(sorted((shape.name for shape in shapes), key=str.lower))
    serializers = ", ".join(sorted((f"{shape.name}Serializer" for shape in shapes), key=str.lower))
    text = [
        f'"""The read API of {context}; writes are commands, to be added with their rules."""\n\n'
        "from typing import Any\n\n"
        "from rest_framework import viewsets\nfrom rest_framework.pagination import CursorPagination\n\n"
        f"{_import('.models', models)}\n{_import('.serializers', serializers)}\n\n\n"
        'class ByKey(CursorPagination):\n    """Pages in the order of keys."""\n\n    ordering = "pk"\n'
    ]
    for shape in shapes:
        text.append(
            f"\n\nclass {shape.name}View(viewsets.ReadOnlyModelViewSet[Any]):\n"
            f'    """Rows of {shape.table}, by key."""\n\n'
            # `objects` is known to a type checker only by settings that install the model; a monolith's do not.
            f'    queryset = {shape.name}._default_manager.order_by("pk")\n'
            f"    serializer_class = {shape.name}Serializer\n"
            "    pagination_class = ByKey\n"
        )
    return "".join(text)


def _urls(context: str, package: str) -> str:
    return dedent(
        f'''\
        """Addresses: the API, its OpenAPI document, and the toolkit's own."""

        from django.urls import include, path
        from drf_spectacular.views import SpectacularAPIView
        from rest_framework.routers import DefaultRouter
        from rest_framework.viewsets import GenericViewSet

        from {package} import api

        router = DefaultRouter()
        for name, view in sorted(vars(api).items()):
            if isinstance(view, type) and issubclass(view, GenericViewSet) and view.__module__ == api.__name__:
                router.register(name.removesuffix("View").lower(), view)

        urlpatterns = [
            path("api/{context}/", include(router.urls)),
            path("api/{context}/schema/", SpectacularAPIView.as_view(), name="schema"),
            path("strangle/", include("migration_tools.urls")),
        ]
        '''
    )


def secret_of(context: str) -> str:
    """The environment variable of the service's SECRET_KEY."""
    return f"{_prefix(context)}_SECRET_KEY"


def _prefix(context: str) -> str:
    return re.sub(r"\W", "_", context).upper()


def _settings(context: str, package: str) -> str:
    prefix = _prefix(context)
    return dedent(
        f'''\
        """Settings of the {context} service; what differs by machine is environment."""

        import os
        from typing import Any

        from migration_tools import SERVICE_APPS

        SECRET_KEY = os.environ.get("{prefix}_SECRET_KEY", "")
        ALLOWED_HOSTS = os.environ.get("{prefix}_ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")
        ROOT_URLCONF = "{package}.urls"
        INSTALLED_APPS = ["rest_framework", "drf_spectacular", "{package}", *SERVICE_APPS]
        MIDDLEWARE = ["migration_tools.routing.middleware.FenceMiddleware"]
        DATABASES = {{
            "default": {{
                "ENGINE": "django.db.backends.postgresql",
                "HOST": os.environ.get("{prefix}_DB_HOST", "127.0.0.1"),
                "PORT": os.environ.get("{prefix}_DB_PORT", "5432"),
                "NAME": os.environ.get("{prefix}_DB_NAME", "{context}"),
                "USER": os.environ.get("{prefix}_DB_USER", "{context}_app"),
                "PASSWORD": os.environ.get("{prefix}_DB_PASSWORD", ""),
            }}
        }}
        USE_TZ = True
        REST_FRAMEWORK: dict[str, Any] = {{
            "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "UNAUTHENTICATED_USER": None,
            "PAGE_SIZE": 50,
        }}
        SPECTACULAR_SETTINGS = {{"TITLE": "{context}", "VERSION": "1"}}
        # An empty token means that nobody may read, never that an empty token is enough.
        READERS = {{"monolith": os.environ.get("FEED_TOKEN_MONOLITH", "")}}
        MONOLITH = os.environ.get("MONOLITH_ADDRESS", "127.0.0.1:8001")
        MIGRATION_TOOLS = {{
            "SIDE": "{context}",
            "FEEDS": {{
                "{context}": {{
                    "url": f"http://{{MONOLITH}}/strangle/feed/",
                    "token": os.environ.get("FEED_TOKEN_{prefix}", ""),
                }}
            }},
            "FEED_TOKENS": {{side: token for side, token in READERS.items() if token}},
        }}
        '''
    )


def _contract(shape: Shape) -> str:
    """A JSON Schema of one row, as events and the API may carry it."""
    properties = {column.field: _json_type(column) for column in shape.columns}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": shape.table,
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _json_type(column: Column) -> dict[str, Any]:
    options = dict(column.options)
    kind = column.held or column.kind
    if kind.endswith(("IntegerField", "AutoField")):
        found: dict[str, Any] = {"type": "integer"}
    else:
        found = dict(JSON_TYPES.get(kind, {"type": "string"}))
        if found.get("type") == "string" and "max_length" in options and len(found) == 1:
            found["maxLength"] = options["max_length"]
    if options.get("null") and "type" in found:
        found["type"] = [found["type"], "null"]
    return found


def _import(module: str, names: str) -> str:
    line = f"from {module} import {names}"
    if len(line) <= 115:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names.split(", ")) + ")"


def _listed(items: str) -> str:
    if len(items) <= 95:
        return f"[{items}]"
    return "[\n" + "".join(f"            {each},\n" for each in items.split(", ")) + "        ]"
