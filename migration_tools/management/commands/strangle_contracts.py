"""Compare what events look like with what was released, release contracts, and print the AsyncAPI document."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import CommandError, CommandParser

from migration_tools import __version__
from migration_tools.conf import settings
from migration_tools.contracts.asyncapi import document
from migration_tools.contracts.checking import check
from migration_tools.contracts.compatibility import Mode
from migration_tools.contracts.declaration import Contract, contracts
from migration_tools.contracts.http_api import api_breaks, read_api
from migration_tools.contracts.releasing import number_rows, release, write_drafts
from migration_tools.contracts.validation import available
from migration_tools.errors import ContractError, ExitCode
from migration_tools.management.examples import Examples
from migration_tools.messaging.handlers import registered
from migration_tools.playbook.registry import load
from migration_tools.playbook.row_contracts import row_contracts


class Command(Examples):
    """check | write | release | asyncapi, on what this side declares; needs no database."""

    help = "Compare event contracts with the released ones."
    examples = ("check --mode full", "check --api", "asyncapi")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["check", "write", "release", "asyncapi"])
        parser.add_argument(
            "--mode", choices=[mode.value for mode in Mode], default=Mode.FULL.value, help="which way it must fit"
        )
        parser.add_argument(
            "--api", action="store_true", help="check, release: the OpenAPI document of this side's HTTP API instead"
        )
        parser.add_argument("--directory", help="where the released contracts are (default: CONTRACTS below BASE_DIR)")
        parser.add_argument(
            "--accept", action="append", default=[], metavar="EVENT", help="release: rows that break, as a new version"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="write, release: name the files that would be written"
        )
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if not available():
            raise ContractError(
                "contracts need jsonschema-rs, which is not installed; pip install 'django-strangler[contracts]'"
            )
        result = self._act(options)
        if options["action"] == "asyncapi":
            self.stdout.write(json.dumps(result["document"], indent=2, ensure_ascii=False))
            return
        if options["format"] == "json":
            self.stdout.write(json.dumps(result))
        else:
            for line in [*(str(each["text"]) for each in result["breaks"]), *result["written"], result["message"]]:
                self.stdout.write(line)
        if result["breaks"]:
            way = (
                "serve the next version at an address of its own"
                if options["api"]
                else ("declare the next version with an upcaster")
            )
            raise CommandError(
                f"{len(result['breaks'])} breaks; keep the contract, or {way}",
                returncode=ExitCode.DIFFERENCES,
            )

    def _act(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["api"] and options["action"] not in ("check", "release"):
            raise ContractError(f"--api goes with check and release, not with {options['action']}")
        if not options["dry_run"] or options["action"] == "asyncapi":
            return _carry_out(options, _directory(options))
        with tempfile.TemporaryDirectory() as copy:
            if _directory(options).exists():
                shutil.copytree(_directory(options), copy, dirs_exist_ok=True)
            done = _carry_out(options, Path(copy))
            done["written"] = [str(_directory(options) / Path(each).relative_to(copy)) for each in done["written"]]
            return done | {"message": f"{done['message']}, in a copy: nothing was touched"}


def _carry_out(options: dict[str, Any], directory: Path) -> dict[str, Any]:
    if options["api"]:
        return _carry_out_api(directory / "api" / f"{settings().SIDE}.json", release=options["action"] == "release")
    mode, side = Mode(options["mode"]), settings().SIDE
    rows = [each for playbook in load().values() for each in row_contracts(playbook)]
    everything: list[Contract] = [*contracts(), *rows]
    if options["action"] == "asyncapi":
        handled = [(h.stream, h.event_type, h.versions, h.name) for h in registered()]
        return {"document": document(everything, handled, side=side, release=__version__)}
    numbered = number_rows(everything, directory, mode=mode, accept=options["accept"])
    if options["action"] == "write":
        return _result([], write_drafts(numbered, directory, side=side), f"{len(numbered)} contracts are declared")
    found = check(numbered, directory, mode=mode, side=side)
    breaks = [vars(each) | {"text": str(each)} for each in found]
    if breaks or options["action"] == "check":
        return _result(breaks, [], f"{len(numbered)} contracts, {len(breaks)} breaks ({mode.value})")
    written = release(numbered, directory, side=side)
    return _result([], written, f"{len(written)} of {len(numbered)} contracts were written")


def _carry_out_api(path: Path, *, release: bool) -> dict[str, Any]:
    """Hold this side's OpenAPI document to the released one; a first release has nothing to be held to."""
    try:
        from drf_spectacular.generators import SchemaGenerator
    except ImportError as error:
        raise ContractError(
            "an API's document needs drf-spectacular; pip install 'django-strangler[spectacular]'"
        ) from error
    try:
        declared = json.loads(json.dumps(SchemaGenerator().get_schema(public=True), default=str))  # type: ignore[no-untyped-call]
    except AssertionError as error:
        raise ContractError(
            "this side's views are not described by drf-spectacular; set REST_FRAMEWORK['DEFAULT_SCHEMA_CLASS'] to "
            "'drf_spectacular.openapi.AutoSchema'"
        ) from error
    released = read_api(path) if path.exists() or not release else {}
    found = list(api_breaks(released, declared))
    breaks = [vars(each) | {"text": f"{each.path}: {each.rule}: {each.message}"} for each in found]
    count = sum(len(operations) for operations in declared["paths"].values())
    if breaks or not release:
        return _result(breaks, [], f"{count} operations, {len(breaks)} breaks")
    text = json.dumps(declared, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    if path.exists() and path.read_text() == text:
        return _result([], [], f"{count} operations, released as they are")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return _result([], [path], f"{count} operations were released")


def _result(breaks: list[dict[str, Any]], written: list[Path], message: str) -> dict[str, Any]:
    return {
        "breaks": breaks,
        "written": [str(path) for path in written],
        "message": message,
        "exit_code": int(ExitCode.DIFFERENCES if breaks else ExitCode.DONE),
    }


def _directory(options: dict[str, Any]) -> Path:
    if options["directory"]:
        return Path(options["directory"])
    return Path(getattr(django_settings, "BASE_DIR", ".")) / settings().CONTRACTS
