"""Container files, Compose, Kubernetes and the workflow name what there is: files, commands, settings, addresses."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dockerfile
import jsonschema
import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands, load_command_class
from gunicorn.config import Config

from tests.architecture.deployed import COMPOSE, SECRETS, compose, manifests, pods, processes
from tests.architecture.tree import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
GATEWAY_API = "gateway.networking.k8s.io/v1"
SCHEMAS = ROOT / "tests" / "unit"
OBJECTS = [*manifests(), *yaml.safe_load_all(SECRETS.read_text())]
#: What container files of ours say, with the flags that it takes.
INSTRUCTIONS: dict[str, set[str]] = {
    **{word: set() for word in ("FROM", "WORKDIR", "RUN", "ENV", "USER", "CMD")},
    "COPY": {"from", "chown", "chmod"},
}
#: Mappings whose keys are the author's, not Kubernetes's.
FREE = {"data", "stringData", "labels", "selector", "requests", "limits"}


def commands() -> list[list[str]]:
    """Every command line that a container runs."""
    lines = [service.get("command", []) for service in compose()["services"].values()]
    lines += [container["args"] for pod in pods().values() for container in pod["containers"]]
    return [[str(word) for word in line] for line in lines]


def test_every_command_of_ours_is_one_with_options_that_it_takes() -> None:
    ours = [line for line in commands() if line[:2] == ["python", "manage.py"]]
    assert {line[2] for line in ours} >= {"strangle_relay", "strangle_consume", "strangle_operate", "strangle_proxy"}
    for line in ours:
        load_command_class(get_commands()[line[2]], line[2]).create_parser("manage.py", line[2]).parse_args(line[3:])


def test_every_server_runs_an_application_that_there_is() -> None:
    for line in commands():
        if line[:1] == ["gunicorn"]:
            (served,) = Config().parser().parse_args(line[1:]).args
            module, _, name = served.partition(":")
            assert re.search(rf"^{name} = ", (ROOT / (module.replace(".", "/") + ".py")).read_text(), re.MULTILINE)


def test_the_image_copies_what_there_is_and_everything_that_runs() -> None:
    text = (COMPOSE / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for word in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    assert {"migration_tools", "legacy_monolith", "extracted_services", "playbooks", "proxy"} <= copied
    assert re.findall(r"^USER (\w+)", text, re.MULTILINE)[-1] != "root"
    pooler = (COMPOSE / "pgbouncer.Dockerfile").read_text()
    assert all((COMPOSE / name).exists() for name in re.findall(r"^COPY (\S+)", pooler, re.MULTILINE))
    assert re.findall(r"^USER (\w+)", pooler, re.MULTILINE) == ["nobody"]


def faults(text: str) -> list[str]:
    """Why a container file cannot be built: what its parser takes for right without knowing Docker's words, too."""
    try:
        lines = dockerfile.parse_string(text)
    except dockerfile.GoParseError as error:
        return [str(error)]
    found, stages = [], set()
    for line in lines:
        flags = dict(flag.removeprefix("--").split("=") for flag in line.flags)
        if line.cmd not in INSTRUCTIONS or not line.value or flags.keys() - INSTRUCTIONS[line.cmd]:
            found.append(line.original)
        if "from" in flags and flags["from"] not in stages:
            found.append(f"no stage before {line.original!r} is called {flags['from']!r}")
        if line.cmd == "FROM" and len(line.value) == 3:
            stages.add(line.value[2])
        if line.cmd in {"CMD", "ENTRYPOINT"} and not line.json:
            found.append(f"not a list of words: {line.original}")
        if line.cmd == "RUN" and subprocess.run(["sh", "-nc", *line.value], check=False).returncode:
            found.append(f"no shell takes {line.original!r}")
    return found


@pytest.mark.parametrize("name", ["Dockerfile", "pgbouncer.Dockerfile"])
def test_every_container_file_can_be_built_as_far_as_reading_tells(name: str) -> None:
    assert faults((COMPOSE / name).read_text()) == []


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("WORKDIR /app", "WORKDIRS /app"),
        ("WORKDIR /app", "ENV PLACE"),
        ("COPY --from=build", "COPY --form=build"),
        ("COPY --from=build", "COPY --from=built"),
        ('"check"]', '"check",]'),
        ("USER 10001", "USER"),
        ("-o 10001 var", "-o 10001 var &&"),
    ],
)
def test_a_container_file_that_cannot_be_built_is_found(line: str, broken: str) -> None:
    text = (COMPOSE / "Dockerfile").read_text()
    assert line in text
    assert faults(text.replace(line, broken)) != []


def test_settings_of_containers_are_read_by_somebody() -> None:
    sources = ("legacy_monolith/settings.py", "migration_tools/service/environment.py")
    read = "".join((ROOT / path).read_text() for path in sources)
    # What a service reads under its own name, and of the sides it speaks to; see migration_tools.service.environment.
    made = re.compile(r"ORDERS_(DB_(HOST|PORT|NAME|USER|PASSWORD|DIRECT)|SECRET_KEY|ADDRESS)|(SHOP_DB|FEED_TOKEN)_\w+")
    given = [service.get("environment", {}) for service in compose()["services"].values()]
    for environment in [*given, *(each.environment for each in processes())]:
        for name in environment:
            known = f'"{name}"' in read or made.fullmatch(name) or name in {"MONOLITH_ADDRESS", "SHOP_ALLOWED_HOSTS"}
            assert known or name.startswith(("POSTGRES_", "RABBITMQ_")) or name == "DJANGO_SETTINGS_MODULE", name
    asked = set(re.findall(r"\$\{(\w+)", (COMPOSE / "compose.yml").read_text()))
    named = set(re.findall(r"^(\w+)=$", (COMPOSE / "env.example").read_text(), re.MULTILINE))
    assert asked == named


def test_the_pooler_is_where_web_processes_look_for_it() -> None:
    assert "pgbouncer" in compose()["services"]
    (pooler,) = [each for each in manifests() if each["kind"] == "Service" and each["metadata"]["name"] == "pgbouncer"]
    for side in ("SHOP", "ORDERS"):
        (config,) = [each for each in manifests() if each["metadata"]["name"] == f"{side.lower()}-database"]
        assert config["data"][f"{side}_DB_HOST"] == pooler["metadata"]["name"]
        assert config["data"][f"{side}_DB_PORT"] == str(pooler["spec"]["ports"][0]["port"])
        # Django's own command goes where DATABASES says, and a schema is its owner's.
        migrate = compose()["services"]["migrate"]["environment"]
        assert (migrate[f"{side}_DB_HOST"], migrate[f"{side}_DB_USER"]) == ("postgres", f"{side.lower()}_owner")


@pytest.mark.parametrize("path", ["deploy/compose/roles.sh", "deploy/compose/pgbouncer.sh"])
def test_scripts_are_shell_that_can_be_parsed(path: str) -> None:
    assert subprocess.run(["sh", "-n", str(ROOT / path)], check=False).returncode == 0


def hold(each: dict[str, Any], release: str) -> None:
    """Hold an object to the strict schema of its kind, the Gateway API's to that of its own definition."""
    if each["apiVersion"] == GATEWAY_API:
        schema = json.loads((SCHEMAS / f"{each['kind'].lower()}_v1.json").read_text())
        jsonschema.validate(each, schema)
    else:
        kubernetes_validate.validate(each, release, strict=True)


def places(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Each key that Kubernetes must know, with the mapping that has it."""
    for key, value in list(node.items()) if isinstance(node, dict) else ():
        yield node, key
        if key not in FREE:
            yield from places(value)
    for value in node if isinstance(node, list) else ():
        yield from places(value)


@pytest.mark.parametrize("release", ["1.25", "1.37"])
def test_every_object_fits_the_schema_of_its_kind(release: str) -> None:
    for each in OBJECTS:
        hold(each, release)


@pytest.mark.parametrize("kind", sorted({each["kind"] for each in OBJECTS}))
def test_no_field_of_an_object_can_be_misspelt(kind: str) -> None:
    broken = copy.deepcopy(next(each for each in OBJECTS if each["kind"] == kind))
    # The definitions of the Gateway API leave metadata to the server.
    there = {name: part for name, part in broken.items() if name != "metadata" or broken["apiVersion"] != GATEWAY_API}
    for at, key in [(broken if at is there else at, key) for at, key in places(there)]:
        if at is broken and key in {"apiVersion", "kind"}:  # by which its schema is found
            continue
        at[f"{key}s"] = at.pop(key)
        with pytest.raises(jsonschema.ValidationError):
            hold(broken, "1.37")
        at[key] = at.pop(f"{key}s")
    hold(broken, "1.37")


def test_routes_lead_to_services_that_there_are() -> None:
    found = manifests()
    services = {
        (each["metadata"]["name"], each["spec"]["ports"][0]["port"]) for each in found if each["kind"] == "Service"
    }
    (route,) = [each for each in found if each["kind"] == "HTTPRoute"]
    for rule in route["spec"]["rules"]:
        assert {(backend["name"], backend["port"]) for backend in rule["backendRefs"]} <= services


def test_every_selector_finds_its_pods_and_none_runs_as_root() -> None:
    for each in manifests():
        if each["kind"] != "Deployment":
            continue
        template = each["spec"]["template"]
        assert each["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True


def test_the_workflow_runs_what_runs_here() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    assert ".ci/run" in steps
    for target in re.findall(r"^make (\w+)$", "\n".join(steps), re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def held_to(schema: str, path: Path) -> int:
    """Exit status of check-jsonschema, which carries the schemas that Compose and GitHub publish."""
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    return subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize(
    ("schema", "path"), [("compose-spec", COMPOSE / "compose.yml"), ("github-workflows", WORKFLOW)]
)
def test_what_others_read_fits_their_own_schema(schema: str, path: Path, tmp_path: Path) -> None:
    assert held_to(schema, path) == 0
    broken = tmp_path / path.name
    broken.write_text(path.read_text() + "\nservices_: {}\njobs_: {}\n")
    assert held_to(schema, broken) == 1, "a key that neither knows is refused"
    wrong = tmp_path / path.name
    first = "depends_on:" if schema == "compose-spec" else "runs-on:"
    assert first in path.read_text()
    wrong.write_text(path.read_text().replace(first, f"my_{first}", 1))
    assert held_to(schema, wrong) == 1
