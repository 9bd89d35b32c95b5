"""A seam: the calls that a context offers, answered by the ORM or over HTTP, as the phase says.

A subclass names its context and two adapters with the same methods; declaring it registers it:

    class Orders(Seam):
        context = "orders"
        local = LocalOrders        # the ORM
        remote = RemoteOrders      # HTTP
        reads = ("get", "of_customer")

    seam("orders").get(public_id)

What is not among `reads` is a write and goes to the owner alone. Reads follow the share from `switch_reads` on.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.db import transaction
from django.dispatch import Signal

from migration_tools.conf import settings
from migration_tools.errors import SeamError
from migration_tools.routing.shadow.differences import json_differences
from migration_tools.seams.instances import plain
from migration_tools.seams.purpose import old_tables_on_purpose
from migration_tools.state.phase import ORDER, Phase

logger = logging.getLogger("strangle.seams")

#: sender (the seam's class), method, differences: [(path, kind)], error (the candidate's, or None); with send_robust.
seam_differed = Signal()

_registry: dict[str, "type[Seam]"] = {}


class Seam:
    """Subclass it in a module that is imported at start, beside the context's models."""

    context: ClassVar[str] = ""
    local: ClassVar[type]
    remote: ClassVar[type]
    reads: ClassVar[tuple[str, ...]] = ()
    compared: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the seam.

        Raises:
            SeamError: every mistake of the declaration.
        """
        super().__init_subclass__(**kwargs)
        mistakes = list(_mistakes(cls))
        if mistakes:
            raise SeamError(f"seam {cls.__qualname__!r}: {'; '.join(mistakes)}")
        _registry[cls.context] = cls

    def __init__(self, user: Any = None):
        self.user = user

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in offered(type(self)):
            raise SeamError(f"seam {self.context!r} offers no {name!r}; it offers {', '.join(offered(type(self)))}")
        return partial(self._call, name)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        remote = self._answers_remotely(name)
        owner = getattr((self.remote if remote else self.local)(), name)
        answer = owner(*args, **kwargs)
        if name in self.compared:
            self._compare(name, answer, remote=not remote, args=args, kwargs=kwargs)
        return answer

    def _answers_remotely(self, name: str) -> bool:
        from migration_tools.state.journal import phase_of  # has models, and this room is an app that is named first

        phase = phase_of(self.context)
        if ORDER.index(phase) >= ORDER.index(Phase.CUTOVER):
            return True
        return phase is Phase.SWITCH_READS and name in self.reads and self._reads_new_side()

    def _reads_new_side(self) -> bool:
        """By the share of the routing table, so that a customer sees one side; without a user by the whole share."""
        from migration_tools.routing import publishing
        from migration_tools.routing.sides import side_for
        from migration_tools.routing.table import BUCKETS

        if self.user is not None:
            return side_for(self.user, self.context) == "new"
        return publishing.current().context(self.context).reads_weight == BUCKETS

    def _compare(self, name: str, answer: Any, *, remote: bool, args: Any, kwargs: Any) -> None:
        """Ask the other side too. The answer is given already: whatever happens here is recorded, never raised."""
        error: Exception | None = None
        found: list[tuple[str, str]] = []
        try:
            candidate = getattr((self.remote if remote else self.local)(), name)
            with old_tables_on_purpose():
                other = _rolled_back(lambda: plain(candidate(*args, **kwargs)))
            found = [(each.path, str(each.kind)) for each in json_differences(plain(answer), other)]
        except Exception as failure:
            error = failure
        if found or error is not None:
            told = f"{type(error).__name__}" if error is not None else ", ".join(f"{p} {k}" for p, k in found[:20])
            logger.warning("seam %s.%s differs: %s", self.context, name, told, extra={"context": self.context})
            seam_differed.send_robust(sender=type(self), method=name, differences=found, error=error)


def seam(context: str, user: Any = None) -> Any:
    """The seam of a context; `user` decides the side while reads are split by share.

    Raises:
        SeamError: no seam is declared for it.
    """
    if context not in _registry:
        raise SeamError(f"no seam is declared for {context!r}; declared are {sorted(_registry)}")
    return _registry[context](user)


def offered(declared: type[Seam]) -> list[str]:
    """The names of the calls that a seam offers."""
    return sorted(_calls(declared.local))


def _calls(adapter: type) -> set[str]:
    return {name for name in dir(adapter) if not name.startswith("_") and callable(getattr(adapter, name))}


def reads_of(context: str) -> tuple[str, ...]:
    """Those of its calls that only read."""
    return _registry[context].reads if context in _registry else ()


def offered_by(context: str) -> list[str]:
    """What the seam of a context offers; nothing where none is declared."""
    return offered(_registry[context]) if context in _registry else []


def _mistakes(declared: type[Seam]) -> Any:
    if not declared.context:
        yield "it has no context; set context = 'name'"
    for side in ("local", "remote"):
        if not isinstance(getattr(declared, side, None), type):
            yield f"it has no {side} adapter; set {side} to a class"
            return
    here, there = _calls(declared.local), _calls(declared.remote)
    if here != there:
        yield f"its adapters do not offer the same calls: only one has {sorted(here ^ there)}"
    unknown = {*declared.reads, *declared.compared} - here
    if unknown:
        yield f"reads or compared name {sorted(unknown)}, which no adapter offers"
    written = set(declared.compared) - set(declared.reads)
    if written:
        yield f"compared names {sorted(written)}; only reads can be asked twice"


def _rolled_back(candidate: Callable[[], Any]) -> Any:
    """Call it in a transaction, or a savepoint, that is rolled back: a candidate changes nothing."""
    with transaction.atomic(using=settings().DATABASE):
        result = candidate()
        transaction.set_rollback(True, using=settings().DATABASE)
    return result
