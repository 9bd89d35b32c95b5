"""Who may what in Compose and Kubernetes: roles, secrets, places to write to; by the settings of each process."""

import importlib.util
from typing import Any

import pytest
from celery.bin.worker import worker

from migration_tools.conf import find_mistakes
from tests.architecture.deployed import (
    KUBERNETES,
    OURS,
    Process,
    compose,
    manifests,
    of_image,
    pods,
    processes,
    secrets,
    unknown,
)

EVERY = [pytest.param(each, id=f"{each.where}-{each.name}") for each in processes()]
CONTAINERS = [
    pytest.param(pod, container, id=f"{name}/{container['name']}")
    for name, pod in pods().items()
    for container in pod["containers"]
]
POOLER, SERVER = "pgbouncer:6432", "postgres:5432"


def expected_users(process: Process) -> dict[str, str]:
    """Which databases a process may know, and as whom."""
    side = "orders" if process.module.startswith("extracted_services.orders") else "shop"
    return {
        "web": {"default": f"{side}_app"},
        "messenger": {"default": f"{side}_owner"},
        "migrate": {"default": f"{side}_owner"},
        "operator": {"default": "strangler", "orders": "strangler"},
    }[process.role]


@pytest.mark.parametrize("process", EVERY)
def test_every_process_has_the_role_of_its_kind_and_no_database_that_is_not_its_own(process: Process) -> None:
    databases = process.settings()["DATABASES"]
    assert {alias: database["USER"] for alias, database in databases.items()} == expected_users(process)
    assert all(database["PASSWORD"] for database in databases.values())
    named = {name for name in process.environment if name.endswith("_DB_NAME")}
    assert len(named) == len(databases), named


@pytest.mark.parametrize("process", EVERY)
def test_every_process_goes_through_the_pooler_and_knows_the_way_past_it(process: Process) -> None:
    settings = process.settings()
    for alias, database in settings["DATABASES"].items():
        place = f"{database['HOST']}:{database['PORT']}"
        assert place == (SERVER if process.role == "migrate" else POOLER)
        direct = settings["MIGRATION_TOOLS"]["DIRECT"][alias]
        assert f"{direct['HOST']}:{direct['PORT']}" == SERVER


@pytest.mark.parametrize("process", EVERY)
def test_no_process_believes_a_key_or_a_token_that_everybody_knows(process: Process) -> None:
    settings = process.settings()
    assert find_mistakes(settings["MIGRATION_TOOLS"]) == []
    for name in ("SECRET_KEY", "MIGRATION_TOOLS", "ACCOUNTS"):
        assert "development-" not in repr(settings.get(name)), name
    # Probes and other sides come by addresses that nobody can list.
    assert settings["ALLOWED_HOSTS"] == ["*"]


def test_each_kind_of_process_is_there_in_both() -> None:
    found = {(each.where, each.role) for each in processes()}
    assert found >= {(where, role) for where in ("compose", "kubernetes") for role in ("web", "messenger", "operator")}
    assert ("kubernetes", "migrate") in found
    # What run-on-many-machines says of them.
    for where, proxies in (("compose", 2), ("kubernetes", 0)):
        here = [each for each in processes() if each.where == where]
        assert sum("strangle_proxy" in each.args for each in here) == proxies
        assert sum("celery" in each.args for each in here) == 1
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert len(published) == len({port.partition(":")[0] for port in published}) == 2


@pytest.mark.parametrize("process", [each for each in EVERY if "celery" in each.values[0].args])  # type: ignore[union-attr]
def test_a_worker_s_command_is_one_that_celery_takes(process: Process) -> None:
    assert process.args[:4] == ("python", "-m", "celery", "-A")
    assert process.args[5] == "worker"
    assert importlib.util.find_spec(process.args[4]) is not None
    worker.make_parser(worker.context_class(worker)).parse_args(list(process.args[6:]))


def test_the_secrets_are_empty_and_each_key_is_used_by_somebody() -> None:
    documented = secrets()
    assert {value for keys in documented.values() for value in keys.values()} == {""}
    text = KUBERNETES.read_text()
    for name, keys in documented.items():
        if f"secretRef: {{ name: {name} }}" not in text:
            assert [key for key in keys if f"key: {key} }}" not in text] == []


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_a_container_can_write_where_it_must_and_asks_for_what_it_needs(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert unknown(container) == []
    volumes = {each["name"]: each for each in pod.get("volumes", [])}
    mounted = {each["mountPath"]: volumes[each["name"]] for each in container.get("volumeMounts", [])}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    # gunicorn, for one, ends at once with "No usable temporary directory found" where there is none.
    assert "emptyDir" in mounted.get("/tmp", {})  # noqa: S108
    assert {"requests", "limits"} <= container.get("resources", {}).keys()
    assert ("readinessProbe" in container) == ("ports" in container)
    # A Service called pgbouncer would set PGBOUNCER_PORT to tcp://…, which pgbouncer.sh takes for its port.
    assert pod.get("enableServiceLinks") is False


def test_compose_gives_every_process_of_ours_a_place_for_temporary_files() -> None:
    for name, service in compose()["services"].items():
        if service.get("read_only"):
            assert service["tmpfs"] == ["/tmp"], name  # noqa: S108


def test_reports_and_dumps_of_the_operator_are_kept_where_its_user_may_write() -> None:
    place = of_image(r"^WORKDIR (/\w+)") + "/var"
    user = of_image(r"^USER (\d+)")
    assert of_image(r"^RUN install -d -o (\d+) var$") == user
    kept = {each.split(":")[1]: each.split(":")[0] for each in compose()["services"]["operator"]["volumes"]}
    assert kept[place] in compose()["volumes"]
    pod = pods()["operator"]
    mounts = {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}
    (volume,) = [each for each in pod["volumes"] if each["name"] == mounts[place]]
    claims = {each["metadata"]["name"] for each in manifests() if each["kind"] == "PersistentVolumeClaim"}
    assert volume["persistentVolumeClaim"]["claimName"] in claims
    assert str(pod["securityContext"]["fsGroup"]) == user
    assert pod["containers"][0]["image"] == OURS
