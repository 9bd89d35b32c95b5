"""monolith_only → dual_write: capture every write of the context and keep the service in sync from now on."""

from collections.abc import Iterator
from typing import Any

from migration_tools.phases import gates
from migration_tools.phases.ports import Evidence, Executor, Finding
from migration_tools.phases.surroundings import Surroundings


class DualWrite:
    """Capture, fence and reverse capture are installed; the consumer proves itself before the phase is entered."""

    def look(self, env: Surroundings) -> Iterator[Finding]:
        """Nothing that the context is tied to is on its way, but for `beside`; the target is empty, unless `adopt`."""
        yield "alone", gates.alone(env)
        if not env.options.get("adopt"):
            yield "target_empty", gates.target_empty(env)

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Install, then wait until the service's consumer is at the stream's end."""
        return {**executor.install_capture(), **executor.publish_routes(), **executor.await_sync()}

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Stop capture, let what is in flight arrive, delete what was synced, forget the context."""
        return {**executor.stop_capture(), **executor.clear_target(), **executor.remove_capture()}
