"""How a service's `sagas` module declares what it orchestrates."""

from migration_tools.sagas import registry
from migration_tools.sagas.definition import Saga
from migration_tools.sagas.orchestrator import listen


def declare(saga: Saga) -> Saga:
    """Make a definition known and take the answers to its commands; mistakes are reported by `manage.py check`.

    Raises:
        SagaError: another definition has the same name and version.
    """
    registry.add(saga)
    listen(saga)
    return saga
