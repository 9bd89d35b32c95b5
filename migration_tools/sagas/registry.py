"""The sagas that this service orchestrates, by name and version, found in `sagas` modules of installed apps."""

from collections.abc import Iterator

from migration_tools.errors import SagaError
from migration_tools.sagas.definition import Saga
from migration_tools.sagas.validation import find_mistakes

_declared: dict[tuple[str, int], Saga] = {}


def add(saga: Saga) -> None:
    """Make a definition known; mistakes are reported by `manage.py check`.

    Raises:
        SagaError: another definition has the same name and version.
    """
    key = (saga.name, saga.version)
    if _declared.get(key, saga) != saga:
        raise SagaError(f"two sagas are declared as {saga!s}; raise the version of the newer one")
    _declared[key] = saga


def declared() -> Iterator[Saga]:
    """Every definition, in order."""
    for key in sorted(_declared):
        yield _declared[key]


def find(name: str, version: int) -> Saga:
    """The definition of an instance.

    Raises:
        SagaError: it is not declared here.
    """
    saga = _declared.get((name, version))
    if saga is None:
        known = [str(each) for each in declared()]
        raise SagaError(
            f"saga {name!r} version {version} is not declared here, only {known} are; keep a definition declared until "
            f"its last instance has ended (strangle_sagas list)"
        )
    return saga


def refuse_mistaken(saga: Saga) -> None:
    """Refuse a definition that has mistakes, with all of them.

    Raises:
        SagaError: it has.
    """
    mistakes = find_mistakes(saga)
    if mistakes:
        lines = "\n".join(f"  {number}. {each.text}" for number, each in enumerate(mistakes, 1))
        raise SagaError(f"saga {saga!s} cannot start; nothing was done:\n{lines}")
