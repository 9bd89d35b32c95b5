"""What a move works with: the playbook, compiled, and connections to both sides; made once, closed at the end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from migration_tools.capture.models import Side
from migration_tools.capture.ownership import Owner, read_owner
from migration_tools.errors import Interrupted, SettingsError, WrongPhase
from migration_tools.kernel.watch import ShowProgress, Watch, silently
from migration_tools.playbook.compiled import Compiled, compile_playbook
from migration_tools.playbook.declaration import Playbook
from migration_tools.state.journal import last_evidence, read_context
from migration_tools.stores.postgres import Connection, connect
from migration_tools.transfer.stops import Ends

#: The move that drops the old tables, and the journal's step that says that they are gone.
REMOVE, DROPPED = "remove", "tables_dropped"

_DATABASE = "SELECT oid, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()"


def quarantine_schema(context: str) -> str:
    """The schema in which a context's old tables wait after the decommission."""
    return f"strangle_quarantine_{context}"


@dataclass(kw_only=True)
class Surroundings:
    """One operator's view of one context.

    `stop` is set by signals; `say` takes a line for the operator; `progress` a title, a total and how much of it an
    earlier run did; `options` are the command's own.
    """

    playbook: type[Playbook]
    compiled: Compiled
    source: Connection
    target: Connection
    stop: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = lambda _: None
    progress: ShowProgress = silently
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> str:
        """The context's name, also its stream's."""
        return self.playbook.context

    def alias(self, side: Side) -> str:
        """The Django database of a side."""
        return self.playbook.source if side is Side.SOURCE else self.playbook.target

    def connection(self, side: Side) -> Connection:
        """The operator's own connection to a side."""
        return self.source if side is Side.SOURCE else self.target

    def owner(self, side: Side = Side.SOURCE) -> Owner | None:
        """Who owns the context as that side's fence knows it."""
        return read_owner(self.connection(side), self.context)

    @contextmanager
    def ends(self, sender: Side, purpose: str) -> Iterator[Ends]:
        """Fresh connections for rows to flow from `sender` to the other side."""
        with (
            connect(self.alias(sender), purpose) as first,
            connect(self.alias(sender), f"{purpose} reader") as second,
            connect(self.alias(sender.other), purpose) as third,
        ):
            yield Ends(stream=self.context, sender=first, reader=second, receiver=third)

    def wait(self, seconds: float) -> None:
        """Pause, unless the operator asks to stop.

        Raises:
            Interrupted: the operator did.
        """
        if self.stop.wait(seconds):
            raise Interrupted(
                f"stopped; what is done is kept: run the same command again to go on with {self.context!r}"
            )

    def heed(self) -> None:
        """Raise Interrupted when the operator has asked to stop."""
        self.wait(0)

    def watch(self) -> Watch:
        """The same for work that knows no phases."""
        return Watch(heed=lambda _: self.heed(), progress=self.progress)


def refuse_removed(context: str) -> None:
    """Raise WrongPhase after the last step back."""
    dropped = last_evidence(context, DROPPED)
    if dropped is None:
        return
    unfinished = read_context(context).move == REMOVE
    raise WrongPhase(
        f"the old tables of {context!r} are dropped: there is nothing to move, and no way back; "
        + (f"complete it with strangle_decommission {context} --remove; " if unfinished else "")
        + f"the final dump is in {dropped['directory']} (strangle_archive {context} restores it)"
    )


def _refuse_one_database(playbook: type[Playbook], source: Connection, target: Connection) -> None:
    """Two schemas of one database share its advisory locks, which both sides call by the same names."""
    if source.execute(_DATABASE).fetchone() == target.execute(_DATABASE).fetchone():
        raise SettingsError(
            f"{playbook.context!r} cannot move: DATABASES[{playbook.source!r}] and DATABASES[{playbook.target!r}] are "
            "one database, in which the locks of both sides would be the same; give the service a database of its own, "
            "or a schema in a database that is not the monolith's (strangle_provision)"
        )


@contextmanager
def surroundings(playbook: type[Playbook], *, purpose: str, **extra: Any) -> Iterator[Surroundings]:
    """Connect to both sides and compile the playbook against them.

    Raises:
        PlaybookError: with every mistake.
        SettingsError: both sides are one database.
        WrongPhase: the old tables were dropped, so nothing can be moved any more.
        StrangleError: a database does not answer.
    """
    refuse_removed(playbook.context)
    with connect(playbook.source, purpose) as source, connect(playbook.target, purpose) as target:
        _refuse_one_database(playbook, source, target)
        # After the decommission the old tables wait in quarantine; the playbook still describes them.
        source.execute(
            "SELECT set_config('search_path', %s, false)", [f"public, {quarantine_schema(playbook.context)}"]
        )
        compiled = compile_playbook(playbook, source, target)
        yield Surroundings(playbook=playbook, compiled=compiled, source=source, target=target, **extra)
