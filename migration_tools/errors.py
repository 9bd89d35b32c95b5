"""The exception tree; every message says what is wrong and which command mends it.

StrangleError
├── SettingsError            MIGRATION_TOOLS is not usable
├── PlaybookError            a playbook's mistakes, all at once
├── RoutingError             the routing table (see routing/)
├── MoveError                a move between phases could not be made
│   ├── GateNotMet           evidence is missing; nothing was changed
│   ├── MoveInProgress       another operator holds the context
│   ├── RolledBack           a ramp took itself back
│   └── WrongPhase           the move does not start from this phase
├── TransferError            rows could not be copied or applied
│   ├── TargetNotEmpty       the target holds rows that the source does not know
│   ├── StaleCheckpoint      the checkpoint belongs to an older playbook
│   ├── StaleReport          a verification's result says nothing of the rows as they are now
│   ├── TransformFailed      a function of the mapping failed; nothing was written of it
│   ├── PositionMoved        somebody else applied meanwhile; try again
│   ├── StreamHole           positions are missing between two batches
│   └── ForeignStream        a batch comes from another database's stream of the same name
├── ArchiveBroken            the final dump of a decommission cannot be restored
├── NotWritten               a report or a dump could not be written where it was to go
├── FenceBusy                the write lock was not had in time; nothing was changed
├── CaptureDrift             what is installed in a database is not what is declared
│   ├── HistoryBroken        a stream was numbered by another cluster's transactions
│   └── LogLost              the log was dropped, or read by somebody else, before a tick had taken it
├── ContractError            an event is not what its contract says, or a contract cannot be used
├── SagaError                a saga cannot be declared, begun or settled so
│   ├── PastPivot            a saga cannot be undone (any more)
│   └── IntakeClosed         no saga of the context begins while it is handed over
├── TransportError           a feed or a broker did not answer
├── CompositionError         an answer from several services is declared wrongly, or cannot be had
├── ReplicationError         data kept of another service, or a command to one, is declared wrongly or failed
├── ShardingError            a shard map cannot be used, or a bucket not be moved
├── StoreError               a replica's store did not answer or refused its rows
├── SeamError                a seam is declared or used wrongly
├── ExtractedModelQueried    the ORM was asked for a model that a service owns; the message holds the call to use
└── AnalysisError            the analysis lacks a library, or was given what it cannot use
    └── CouplingRefused      the guard refused a coupling of two contexts that is not in the baseline
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What each command's exit status means; stable, documented in docs/reference/exit-codes.md."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    DIFFERENCES = 3
    GATE_NOT_MET = 4
    LOCKED = 5
    INTERRUPTED = 6
    ROLLED_BACK = 7
    TRANSFORM_FAILED = 8


class StrangleError(Exception):
    """Anything this toolkit refuses or fails at; `exit_code` is what a command ends with."""

    exit_code = ExitCode.ERROR


class SettingsError(StrangleError):
    """MIGRATION_TOOLS holds something that cannot be used."""


class PlaybookError(StrangleError):
    """A playbook's mistakes, collected: `mistakes` is a list of sentences."""

    def __init__(self, playbook: str, mistakes: list[str]) -> None:
        self.playbook = playbook
        self.mistakes = mistakes
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(mistakes, 1))
        noun = "mistake" if len(mistakes) == 1 else "mistakes"
        super().__init__(f"playbook {playbook!r} has {len(mistakes)} {noun}:\n{lines}")


class RoutingError(StrangleError):
    """The routing table could not be read, changed or confirmed."""


class MoveError(StrangleError):
    """A move between phases could not be made."""


class GateNotMet(MoveError):
    """Evidence is missing for a move; nothing was changed. `blocking` lists what is missing."""

    exit_code = ExitCode.GATE_NOT_MET

    def __init__(self, context: str, move: str, blocking: list[str]) -> None:
        self.context = context
        self.move = move
        self.blocking = blocking
        lines = "\n".join(f"  - {text}" for text in blocking)
        super().__init__(f"{context!r} cannot move to {move!r} yet; nothing was changed:\n{lines}")


class StillWatching(MoveError):
    """Nobody has used the old tables so far, and the watch is not over; what was done for it is kept."""

    exit_code = ExitCode.GATE_NOT_MET


class MoveInProgress(MoveError):
    """Another operator moves this context now."""

    exit_code = ExitCode.LOCKED


class RolledBack(MoveError):
    """The new side was worse, so a ramp has sent every read to the old side again."""

    exit_code = ExitCode.ROLLED_BACK


class WrongPhase(MoveError):
    """The move does not start from the phase the context is in."""

    exit_code = ExitCode.GATE_NOT_MET


class TransferError(StrangleError):
    """Rows could not be copied or applied."""


class TargetNotEmpty(TransferError):
    """The target holds rows that the source does not know."""

    exit_code = ExitCode.GATE_NOT_MET


class StaleCheckpoint(TransferError):
    """The checkpoint belongs to an older declaration of the playbook."""

    exit_code = ExitCode.GATE_NOT_MET


class StaleReport(TransferError):
    """A verification's result says nothing of the rows as they are now; nothing was changed."""

    exit_code = ExitCode.GATE_NOT_MET


class TransformFailed(TransferError):
    """A Python function of the mapping cannot be called, raised, or gave what its column cannot hold.

    The message names the function, the table and the key, and never a value of the row.
    """

    exit_code = ExitCode.TRANSFORM_FAILED


class PositionMoved(TransferError):
    """Somebody else applied this stream meanwhile; read the position again and go on."""


class StreamHole(TransferError):
    """Positions are missing between what was applied and what arrived."""


class ForeignStream(TransferError):
    """A batch comes from another database's stream of the same name; nothing of it was applied."""


class ArchiveBroken(StrangleError):
    """The final dump of a decommission is not there, was changed, or restores to other rows than were dumped."""

    exit_code = ExitCode.DIFFERENCES


class NotWritten(StrangleError):
    """A report or a dump could not be written; `remedy` says what is kept and which option names another place."""

    def __init__(self, what: str, place: object, error: OSError, remedy: str) -> None:
        super().__init__(f"{what} cannot be written to {place}: {error.strerror or error}; {remedy}")


class ContractError(StrangleError):
    """An event is not what its contract says, or a contract cannot be used; never with values in its message."""


class Interrupted(StrangleError):
    """The operator or the system asked to stop; the checkpoint is saved."""

    exit_code = ExitCode.INTERRUPTED


class FenceBusy(StrangleError):
    """The exclusive write lock was not had within its budget; nothing was changed."""


class CaptureDrift(StrangleError):
    """What is installed in a database is not what the playbook declares; run strangle_doctor."""


class HistoryBroken(CaptureDrift):
    """The database was loaded from a dump into another cluster; nothing is numbered until somebody begins anew."""

    def __init__(self, stream: str) -> None:
        super().__init__(
            f"the ticks of stream {stream!r} come from another cluster's history: this database was loaded from a "
            "dump. Nothing is numbered, lest writes be lost. Begin anew with "
            f"strangle_doctor {stream} --mend, then compare with strangle_verify {stream} --repair and let its "
            "consumers go on with strangle_consume --from-head"
        )


class LogLost(CaptureDrift):
    """A part of the log is gone that no tick has taken: writes are missing, and the stream stands still."""


class SagaError(StrangleError):
    """A saga cannot be declared, begun or settled in this way; nothing was changed."""


class PastPivot(SagaError):
    """A saga cannot be undone: it is past its pivot, or the pivot was asked for and may have been done."""

    exit_code = ExitCode.GATE_NOT_MET


class IntakeClosed(SagaError):
    """No saga of a context begins while it is handed over; try again in a moment."""

    exit_code = ExitCode.GATE_NOT_MET


class TransportError(StrangleError):
    """A feed or a broker did not answer, or answered nonsense."""


class CompositionError(StrangleError):
    """An answer from several services is declared wrongly, or cannot be had (see composition/)."""


class ReplicationError(StrangleError):
    """Data kept of another service, or a command to one, is declared wrongly or failed (see replication/)."""


class ShardingError(StrangleError):
    """A shard map cannot be used, or a bucket could not be moved (see sharding/)."""


class StoreError(StrangleError):
    """A replica's store did not answer, or refused what it was sent; never with values of rows in its message."""


class StoreAway(StoreError):
    """A store did not answer at all: nothing is said of what it was sent, which is good once the store is there."""


class AnalysisError(StrangleError):
    """The analysis lacks a library, or was given a context map, a trace or a baseline that it cannot use."""


class CouplingRefused(AnalysisError):
    """The guard refused a statement that couples two contexts anew; the message holds the remedy."""


class SeamError(StrangleError):
    """A seam is declared or used wrongly, or an instance that came through one was to be saved."""


class ExtractedModelQueried(StrangleError):
    """The ORM was asked for a model that belongs to a service since its cutover; the message holds the call to use."""
