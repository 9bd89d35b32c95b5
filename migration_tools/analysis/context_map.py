"""Which context a table, a model and a line of code belong to; by default the app labels are the contexts."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models import Model

FRAMEWORK = ("django.", "rest_framework", "debug_toolbar")
OWN = "migration_tools"


@dataclass(frozen=True, kw_only=True)
class Context:
    """A bounded context: tables, code, and who answers for them. One context may go to several `services`."""

    name: str
    tables: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    owner: str = ""
    team: str = ""
    store: str = "postgresql"
    services: tuple[str, ...] = ()
    framework: bool = False


@dataclass(frozen=True, kw_only=True)
class Exemption:
    """A coupling that the guard lets pass until a day, because of an issue that says how it ends."""

    rule: str
    function: str
    issue: str
    expires: dt.date

    def covers(self, rule: str, function: str) -> bool:
        """Whether it is of this coupling, whatever day it is."""
        return (self.rule, self.function) == (rule, function)


class ContextMap:
    """Every table in exactly one context; code by the longest prefix of its module."""

    def __init__(
        self, contexts: Iterable[Context], *, ignored: Sequence[str] = (), exemptions: Sequence["Exemption"] = ()
    ):
        self.ignored = tuple(ignored)
        self.exemptions = tuple(exemptions)
        self.contexts: Mapping[str, Context] = {context.name: context for context in contexts}
        self._tables = {table: context.name for context in self.contexts.values() for table in context.tables}
        self._code = {prefix: context.name for context in self.contexts.values() for prefix in context.code}
        self._modules: dict[str, str | None] = {}
        self._roots = {prefix.partition(".")[0] for prefix in self._code} - {"django", "rest_framework", OWN}

    def of_table(self, table: str) -> str | None:
        """The context of a table; None for the toolkit's own and unknown ones."""
        return self._tables.get(table)

    def of_module(self, module: str) -> str | None:
        """The context whose code a module is; None for code that no context claims."""
        if module not in self._modules:
            parts = module.split(".")
            prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
            self._modules[module] = next((self._code[each] for each in prefixes if each in self._code), None)
        return self._modules[module]

    def of_model(self, model: type[Model]) -> str | None:
        """The context of the table that a model's rows are in."""
        return self.of_table(model._meta.db_table)

    def is_project(self, module: str) -> bool:
        """Whether a module is the monolith's own: beside or below the code that contexts claim."""
        return module.partition(".")[0] in self._roots

    def is_ignored(self, module: str) -> bool:
        """Whether a module is said to couple nothing that production runs: what makes data for demonstrations."""
        return any(module == prefix or module.startswith(f"{prefix}.") for prefix in self.ignored)

    def is_framework(self, name: str | None) -> bool:
        """Whether a context is Django's own or another framework's: it is never extracted, every side has it."""
        return name is not None and self.contexts[name].framework

    def exempts(self, rule: str, function: str) -> bool:
        """Whether a coupling may pass today; the day that an exemption names is its last."""
        today = dt.datetime.now(tz=dt.UTC).date()
        return any(each.covers(rule, function) and today <= each.expires for each in self.exemptions)

    @property
    def candidates(self) -> list[Context]:
        """The contexts that could be extracted: they have tables and are no framework's."""
        return [context for context in self.contexts.values() if context.tables and not context.framework]

    def merged(self, names: Sequence[str]) -> Self:
        """The same map with some contexts as one, named `a+b`."""
        parts = [self.contexts[name] for name in names]
        one = replace(
            parts[0],
            name="+".join(names),
            tables=tuple(table for part in parts for table in part.tables),
            code=tuple(prefix for part in parts for prefix in part.code),
            services=tuple(service for part in parts for service in part.services),
        )
        others = (each for name, each in self.contexts.items() if name not in names)
        return type(self)([one, *others], ignored=self.ignored, exemptions=self.exemptions)


def by_app_labels() -> ContextMap:
    """One context an installed app, named by its label, with the app's tables and modules."""
    return ContextMap(
        Context(
            name=config.label,
            tables=tuple(tables_of(config)),
            code=(config.name,),
            framework=is_frameworks(config),
        )
        for config in apps.get_app_configs()
        if not is_own(config)
    )


def is_frameworks(config: AppConfig) -> bool:
    """Whether an app is a framework's own; the one that holds the users is somebody's business wherever it is from."""
    return config.name.startswith(FRAMEWORK) and config.label != settings.AUTH_USER_MODEL.partition(".")[0]


def is_own(config: AppConfig) -> bool:
    """Whether an app is the toolkit's."""
    return config.name.split(".")[0] == OWN


def tables_of(config: AppConfig) -> list[str]:
    """The tables of an app's models, those behind many-to-many fields too, each once."""
    return list(dict.fromkeys(model._meta.db_table for model in models_of(config)))


def models_of(config: AppConfig) -> list[type[Model]]:
    """The models of an app that have a table of their own."""
    return [
        model
        for model in config.get_models(include_auto_created=True)
        if not model._meta.proxy and not model._meta.swapped and model._meta.managed
    ]


def all_tables() -> dict[str, str]:
    """Every table of the installed models, with the label of its app; the toolkit's own left out."""
    return {
        table: config.label for config in apps.get_app_configs() if not is_own(config) for table in tables_of(config)
    }


def model_of_table() -> dict[str, Any]:
    """Table → model, tables behind many-to-many fields too."""
    return {
        model._meta.db_table: model
        for config in apps.get_app_configs()
        if not is_own(config)
        for model in models_of(config)
    }
