"""The throttle: before each chunk every probe is asked, and any one of them keeps the copy waiting, by name.

A chunk under way is never abandoned. While the copy waits the probes are asked again every POLL_SECONDS, so it stands
and goes on within a tenth of a second of what they see. An operator's pause comes first, a cancellation ends the copy
with its checkpoint saved.
"""

from collections.abc import Callable, Sequence

from migration_tools.errors import Interrupted
from migration_tools.transfer.control import Wish, read_control, tell
from migration_tools.transfer.probes import Probe

POLL_SECONDS = 0.05


class Throttle:
    """Call it before each chunk; it returns when the chunk may be made.

    Args:
        wait: Pauses for so many seconds, and raises when the operator's own process was told to stop.
        note: Shows what holds the copy beside its progress; '' takes that back.
    """

    def __init__(
        self,
        context: str,
        probes: Sequence[Probe],
        *,
        wait: Callable[[float], None],
        say: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self._context, self._probes = context, probes
        self._wait, self._say, self._note = wait, say, note
        self._told = ""

    def __call__(self) -> None:
        """Wait until nothing is in the way.

        Raises:
            Interrupted: the copy was cancelled, here or at another terminal.
        """
        self._wait(0)
        kind = ""
        while (held := self._held()) is not None:
            probe, reason = held
            if probe != kind:  # said once a reason, not once a figure
                self._say(f"throttled: {reason}")
                tell(self._context, reason)
                kind, self._told = probe, reason
            self._note(f"throttled: {reason}")
            self._wait(POLL_SECONDS)
        if self._told:
            self._told = ""
            self._note("")
            tell(self._context, "")

    def _held(self) -> tuple[str, str] | None:
        control = read_control(self._context)
        if control.wish is Wish.CANCEL:
            raise Interrupted(
                f"the copy of {self._context!r} was cancelled {control}; what is done is kept: run "
                f"strangle_backfill {self._context} to go on, or strangle_rollback {self._context} to drop it"
            )
        if control.wish is Wish.PAUSE:
            return "pause", f"paused {control}"
        for probe in self._probes:
            reason = probe.look()
            if reason is not None:
                return type(probe).__name__, reason
        return None
