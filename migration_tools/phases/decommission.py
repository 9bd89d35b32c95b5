"""cutover → decommission: prove that nobody uses the old tables, dump them, put them away; or keep them as copies."""

from collections.abc import Iterator
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.errors import StillWatching
from migration_tools.phases import archive, gates
from migration_tools.phases.ports import Evidence, Executor, Finding
from migration_tools.phases.surroundings import Surroundings


class Decommission:
    """Undone by bringing the tables back and carrying the service's rows into them.

    With the option `keep_copies` they stay where they are, see Note [kept copies].
    """

    def look(self, env: Surroundings) -> Iterator[Finding]:
        """Fences as declared, soaked, both consumers timely, nothing parked, no saga left, no shadow read of it.

        Copies that go on being read must also have been found equal since the hand-over; a final dump needs a place.
        """
        yield "capture_installed", gates.capture_installed(env)
        yield "soaked", gates.soaked(env)
        yield "no_dead_letters", gates.no_dead_letters(env)
        yield "no_pinned_sagas", gates.no_pinned_sagas(env)
        yield "not_shadowed", gates.not_shadowed(env)
        yield "consumer_alive", [each for side in Side for each in gates.consumer_alive(env, side)]
        yield "lag_small", [each for side in Side for each in gates.lag_small(env, side)]
        if env.options.get("keep_copies"):
            yield "verified", gates.verified(env)
        else:
            yield "dump_writable", archive.unwritable(env)

    def start(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Cut references, stop carrying back, watch, dump and move.

        A reader found takes the first steps back; a watch of days keeps them.
        """
        keep = bool(options.get("keep_copies"))
        evidence = {**executor.choose_end(keep=keep), **executor.cut_references()}
        if not keep:
            evidence |= executor.stop_carrying_back()
        try:
            evidence |= executor.prove_quiet(readers=keep)
        except StillWatching:
            raise
        except Exception:
            self.rollback(executor, options)
            raise
        return {**evidence, **(executor.take_writes() if keep else executor.archive())}

    def rollback(self, executor: Executor, options: dict[str, Any]) -> Evidence:
        """Bring back, catch up, restore references; copies that were kept have followed all the time."""
        if executor.keeps_copies():
            return {**executor.give_writes_back(), **executor.restore_references()}
        return {**executor.unarchive(), **executor.carry_back_all(), **executor.restore_references()}
