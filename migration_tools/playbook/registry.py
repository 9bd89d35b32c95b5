"""Find the playbooks that the settings name."""

from importlib import import_module

from migration_tools.conf import settings
from migration_tools.errors import PlaybookError, SettingsError
from migration_tools.playbook.declaration import Playbook


def load() -> dict[str, type[Playbook]]:
    """Import the modules of MIGRATION_TOOLS['PLAYBOOKS'] and collect their Playbook subclasses by context.

    Raises:
        SettingsError: a module cannot be imported or holds no playbook.
        PlaybookError: two playbooks claim one context, or one names none.
    """
    found: dict[str, type[Playbook]] = {}
    for name in settings().PLAYBOOKS:
        try:
            module = import_module(name)
        except ImportError as error:
            raise SettingsError(
                f"MIGRATION_TOOLS['PLAYBOOKS'] names {name!r}, which cannot be imported: {error}"
            ) from error
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Playbook)
            and value is not Playbook
            and value.__module__ == name
        ]
        if not classes:
            raise SettingsError(f"MIGRATION_TOOLS['PLAYBOOKS'] names {name!r}, which defines no Playbook")
        for playbook in classes:
            if not playbook.context:
                raise PlaybookError(playbook.__qualname__, ["it has no context; set context = 'name'"])
            if playbook.context in found:
                raise PlaybookError(playbook.__qualname__, [f"context {playbook.context!r} is declared twice"])
            found[playbook.context] = playbook
    return found


def get(context: str) -> type[Playbook]:
    """The playbook of a context.

    Raises:
        SettingsError: there is none.
    """
    known = load()
    if context not in known:
        raise SettingsError(f"no playbook declares context {context!r}; known contexts are {sorted(known)}")
    return known[context]


def bystanders() -> tuple[str, ...]:
    """Services that no playbook names, since they took nothing over: the names in SERVICE_COMMANDS of no context.

    Each is the alias of the service's database too, and the name by which the owners of streams know its consumers.
    """
    contexts = load()
    return tuple(name for name in settings().SERVICE_COMMANDS if name not in contexts)
