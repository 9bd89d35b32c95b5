"""What the deploy files start: each process with its environment, and the settings that it gets from that."""

import os
import re
import runpy
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import yaml

from tests.architecture.tree import ROOT

COMPOSE = ROOT / "deploy" / "compose"
KUBERNETES = ROOT / "deploy" / "kubernetes" / "strangler.yaml"
SECRETS = ROOT / "deploy" / "kubernetes" / "secrets.example.yaml"
MONOLITH, ORDERS = "legacy_monolith.settings", "extracted_services.orders.settings"
OURS = "django-strangler-example"


@dataclass(frozen=True, kw_only=True)
class Process:
    """One container of our image that runs one command."""

    where: str
    name: str
    args: tuple[str, ...]
    environment: dict[str, str]

    @property
    def role(self) -> str:
        """By what it runs: web, migrate, operator (with its workers), or messenger: relay, consumer, proxy."""
        if self.args[0] == "gunicorn":
            return "web"
        command = self.args[2]
        return {"migrate": "migrate", "strangle_operate": "operator", "celery": "operator"}.get(command, "messenger")

    @property
    def module(self) -> str:
        """Whose settings it runs with: as told, else the monolith's, else those of its application."""
        told = self.args[self.args.index("--settings") + 1] if "--settings" in self.args else None
        default = self.args[1].partition(".wsgi")[0] + ".settings" if self.role == "web" else MONOLITH
        return told or self.environment.get("DJANGO_SETTINGS_MODULE", default)

    def settings(self) -> dict[str, Any]:
        """The settings as the process would have them, read from its environment and nothing else."""
        with mock.patch.object(os, "environ", dict(self.environment)):
            return runpy.run_path(str(ROOT / (self.module.replace(".", "/") + ".py")))


@cache
def compose() -> dict[str, Any]:
    """The Compose file."""
    return dict(yaml.safe_load((COMPOSE / "compose.yml").read_text()))


@cache
def manifests() -> list[dict[str, Any]]:
    """Every object of the Kubernetes example."""
    return [each for each in yaml.safe_load_all(KUBERNETES.read_text()) if each]


@cache
def secrets() -> dict[str, dict[str, str]]:
    """The documented Secrets: name → key → value."""
    return {each["metadata"]["name"]: each["stringData"] for each in yaml.safe_load_all(SECRETS.read_text())}


def pods() -> dict[str, dict[str, Any]]:
    """The pods of the Kubernetes example by the name of their Deployment or Job."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in manifests()
        if each["kind"] in {"Deployment", "Job"}
    }


def processes() -> list[Process]:
    """Every process of our image; Compose's `migrate`, which is two in a shell, is left out."""
    found = []
    for name, service in compose()["services"].items():
        if service.get("image") == OURS and service["command"][0] != "sh":
            args = tuple(str(word) for word in service["command"])
            found.append(Process(where="compose", name=name, args=args, environment=service["environment"]))
    for name, pod in pods().items():
        for each in pod["containers"]:
            if each["image"] == OURS:
                args = tuple(str(word) for word in each["args"])
                found.append(
                    Process(where="kubernetes", name=f"{name}/{each['name']}", args=args, environment=given(each))
                )
    return found


def known() -> dict[str, dict[str, dict[str, str]]]:
    """What containers may refer to: `configMapRef` and `secretRef` → name → key → value."""
    maps = {each["metadata"]["name"]: each["data"] for each in manifests() if each["kind"] == "ConfigMap"}
    filled = {name: {key: f"secret {key}" for key in keys} for name, keys in secrets().items()}
    return {"configMapRef": maps, "secretRef": filled}


def given(container: dict[str, Any]) -> dict[str, str]:
    """The environment of a container: maps and Secrets whole, then what is named, which wins; without the unknown."""
    there = known()
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        ((kind, reference),) = source.items()
        environment |= there[kind].get(reference["name"], {})
    for each in container.get("env", []):
        reference = each.get("valueFrom", {}).get("secretKeyRef")
        keys = there["secretRef"].get(reference["name"], {}) if reference else {}
        environment[each["name"]] = keys.get(reference["key"], "") if reference else each["value"]
    return environment


def unknown(container: dict[str, Any]) -> list[str]:
    """What a container refers to and nobody makes or documents."""
    there = known()
    missing = []
    for source in container.get("envFrom", []):
        ((kind, reference),) = source.items()
        if reference["name"] not in there[kind]:
            missing.append(f"{kind} {reference['name']}")
    for each in container.get("env", []):
        reference = each.get("valueFrom", {}).get("secretKeyRef")
        if reference and reference["key"] not in there["secretRef"].get(reference["name"], {}):
            missing.append(f"key {reference['key']} of {reference['name']}")
    return missing


def of_image(pattern: str) -> str:
    """What a line of the Dockerfile says, the last one if there are several."""
    return str(re.findall(pattern, (COMPOSE / "Dockerfile").read_text(), re.MULTILINE)[-1])
