"""The pytest plugin's part for contexts: `--strangle-trace` records couplings, `--strangle-guard` refuses new ones."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_tools.analysis.baseline import Baseline, path_of_baseline
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.guard import Guard, Mode, refusal
from migration_tools.analysis.observation import Observer, scope
from migration_tools.analysis.trace import Trace
from migration_tools.errors import AnalysisError, CouplingRefused

OBSERVER = pytest.StashKey[Observer]()
TRACE = pytest.StashKey[Trace]()
GUARD = pytest.StashKey[Guard]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two options."""
    group = parser.getgroup("strangler")
    group.addoption(
        "--strangle-trace",
        metavar="DIRECTORY",
        help="record every statement's contexts there, a file for each process; give it to strangle_analyze --trace",
    )
    group.addoption(
        "--strangle-guard",
        choices=[mode.value for mode in Mode],
        default=Mode.OFF.value,
        help="what to do with a coupling of contexts that the baseline does not have",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin when Django is set up and all test modules are imported.

    Raises:
        pytest.UsageError: the context map or the baseline cannot be used.
    """
    config = session.config
    mode = Mode(config.getoption("--strangle-guard"))
    if OBSERVER in config.stash or not (config.getoption("--strangle-trace") or mode is not Mode.OFF):
        return
    try:
        contexts, baseline = load_contexts(), Baseline.read(path_of_baseline())
    except AnalysisError as error:
        raise pytest.UsageError(str(error)) from error
    trace = config.stash[TRACE] = Trace(contexts)
    guard = config.stash[GUARD] = Guard(contexts, baseline, mode)
    # The trace first: what is refused has been tried, and a new baseline is to hold it.
    observer = config.stash[OBSERVER] = Observer(contexts, [trace, guard])
    observer.install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test is a scope, as a request is."""
    with scope(item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test fails by a refusal even where the code under test caught it."""
    guard = item.config.stash.get(GUARD, None)
    before = guard.refusals if guard is not None else 0
    result = yield
    if guard is not None and guard.mode is Mode.RAISE and guard.refusals > before:
        raise CouplingRefused(guard.last_refusal)
    return result


@pytest.fixture
def context_guard() -> Iterator[Guard]:
    """The guard for one test, refusing whatever the baseline does not have."""
    contexts = load_contexts()
    guard = Guard(contexts, Baseline.read(path_of_baseline()), Mode.RAISE)
    observer = Observer(contexts, [guard])
    observer.install()
    try:
        yield guard
    finally:
        observer.uninstall()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was met, with the remedies."""
    guard = config.stash.get(GUARD, None)
    if guard is not None and guard.met:
        terminalreporter.section("couplings of contexts that the baseline does not have", sep="-")
        for coupling, finding in sorted(guard.met.items()):
            terminalreporter.write_line(refusal(coupling, finding, guard.contexts.exemptions))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what this process has observed; xdist's workers have a name each."""
    config = session.config
    if OBSERVER not in config.stash:
        return
    config.stash[OBSERVER].uninstall()
    directory = config.getoption("--strangle-trace")
    if directory:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        config.stash[TRACE].save(Path(directory) / f"trace-{worker}.json")
