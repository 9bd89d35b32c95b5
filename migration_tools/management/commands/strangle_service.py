"""Write the skeleton of a context's service: models, serializers, API, settings, schema migrations, contracts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.errors import AnalysisError
from migration_tools.generation.formatting import tidy
from migration_tools.generation.service import render_service, secret_of
from migration_tools.management.examples import Examples
from migration_tools.management.shape_options import add_shape_options, read_shapes


class Command(Examples):
    """new: writes a folder, and never into one that exists."""

    help = "Write a service's skeleton."
    examples = ("new orders --package services.orders",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["new"])
        parser.add_argument("context", help="the bounded context: an app label, or a name of the context map")
        parser.add_argument("--package", required=True, help="the service's package, such as services.orders")
        add_shape_options(parser)
        parser.add_argument("--dry-run", action="store_true", help="name the files; write nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")
        parser.add_argument("--root", default=".", help="the folder that holds the package; default: this one")

    def handle(self, *args: Any, **options: Any) -> None:
        context, package = options["context"], options["package"]
        own, copies = read_shapes(context, options)
        files = render_service(context, package, [*own, *copies])
        folder = _free(Path(options["root"]), package)
        if not options["dry_run"]:
            _make_parents(Path(options["root"]), package)
            _write(folder, files)
            _make_migrations(Path(options["root"]), package, secret_of(context))
            tidy([folder])
        names = sorted([*files, "migrations/0001_initial.py"])
        told = (
            f"{len(names)} files are written to {folder}; set its settings' environment, then migrate, and run its "
            f"tests: pytest --ds {package}.settings {folder}"
        )
        if options["dry_run"]:
            told = f"{len(names)} files would be written to {folder}; nothing was touched"
        if options["format"] == "json":
            self.stdout.write(json.dumps({"folder": str(folder), "files": names, "message": told}))
            return
        for name in names if options["dry_run"] else []:
            self.stdout.write(f"  {name}")
        self.stdout.write(told)


def _free(root: Path, package: str) -> Path:
    folder = root.joinpath(*package.split("."))
    if folder.exists():
        raise AnalysisError(f"{str(folder)!r} exists; remove it, or choose another --package")
    return folder


def _make_parents(root: Path, package: str) -> None:
    """The packages around the service that are not there yet; without them a type checker finds its modules twice."""
    parents = package.split(".")[:-1]
    for depth in range(1, len(parents) + 1):
        parent = root.joinpath(*parents[:depth])
        if not parent.exists():
            parent.mkdir(parents=True)
            (parent / "__init__.py").write_text('"""Services that left the monolith."""\n')


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _make_migrations(root: Path, package: str, secret: str) -> None:
    """By the service's own settings, in a process of its own: its models are not this process's."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": f"{package}.settings"}
    env["PYTHONPATH"] = os.pathsep.join([str(root.resolve()), os.getcwd(), env.get("PYTHONPATH", "")])
    label = f"{package.rpartition('.')[2]}_service"
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "django", "makemigrations", label, "--name", "initial", "-v", "0"],
        capture_output=True,
        text=True,
        check=False,
        env={**env, secret: "to make migrations"},
    )
    if made.returncode:
        raise AnalysisError(f"makemigrations of {package!r} failed: {made.stderr[-2000:]}")
