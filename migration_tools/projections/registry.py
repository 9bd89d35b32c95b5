"""Which read models there are: found in `read_models` modules of installed apps, each registered as handlers."""

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string, module_has_submodule

from migration_tools.errors import StrangleError
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import HandlerFunction, handles
from migration_tools.projections.declaration import ReadModel, Taken
from migration_tools.projections.validation import find_mistakes

_registry: dict[str, ReadModel] = {}


class ReadModelError(StrangleError):
    """A read model's mistakes, collected: `mistakes` is a list of sentences."""

    def __init__(self, name: str, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(mistakes, 1))
        super().__init__(f"read model {name!r} has {len(mistakes)} mistake{'s' * (len(mistakes) > 1)}:\n{lines}")


def discover() -> None:
    """Register what the installed apps declare; mistakes are left to `check`."""
    for config in apps.get_app_configs():
        if config.module is not None and module_has_submodule(config.module, "read_models"):
            register_module(import_module(f"{config.name}.read_models"))


def register_module(module: ModuleType) -> None:
    """Register every read model that a module declares."""
    for kind in vars(module).values():
        if inspect.isclass(kind) and issubclass(kind, ReadModel) and kind.__module__ == module.__name__ and kind.name:
            register(kind())


def register(model: ReadModel) -> ReadModel:
    """Let a read model take its events; once, however often it is called. One with mistakes takes none."""
    known = _registry.setdefault(model.name, model)
    if type(known) is not type(model):
        raise ReadModelError(model.name, [f"{type(known).__qualname__} has this name already; give it another one"])
    if not find_mistakes(known):
        for taken in known.taken():
            _take(known, taken)
    return known


def read_models() -> list[ReadModel]:
    """All of them, by name."""
    return [_registry[name] for name in sorted(_registry)]


def get(name: str) -> ReadModel:
    """The one of this name.

    Raises:
        ReadModelError: its declaration has mistakes.
        StrangleError: there is none.
    """
    model = _registry.get(name)
    if model is None:
        raise StrangleError(f"there is no read model {name!r}; known are {sorted(_registry)}")
    mistakes = find_mistakes(model)
    if mistakes:
        raise ReadModelError(name, mistakes)
    return model


def of_group(group: str) -> list[ReadModel]:
    """The read models of a group, by name: who writes one of them holds them all."""
    return [model for model in read_models() if model.of_group() == group]


def _take(model: ReadModel, taken: Taken) -> None:
    function = handler(model, taken)
    handles(taken.event_type, stream=taken.stream, versions=taken.versions, group=model.of_group())(function)


_functions: dict[tuple[ReadModel, Taken, int | None], HandlerFunction] = {}


def handler(model: ReadModel, taken: Taken, slot: int | None = None) -> HandlerFunction:
    """The function that applies an event to the model: to what is live, or to a slot that is being built.

    One object for the same arguments, so that registering it again changes nothing.
    """
    key = (model, taken, slot)
    if key not in _functions:

        def take(event: Envelope) -> None:
            # The engine needs psycopg 3, which a process that only declares does not.
            apply: Any = import_string("migration_tools.projections.applying.apply")
            apply(model, taken, event, slot)

        # A module of its own in `find`: what one read model takes says nothing of whether another has seen the event.
        take.__module__ = f"{type(model).__module__}.{type(model).__qualname__}"
        take.__qualname__ = taken.method
        _functions[key] = take
    return _functions[key]
