"""The pytest plugin's part for contexts: `--strangle-trace` records what the tests' statements couple."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_tools.analysis.observation import Observer, scope
from migration_tools.analysis.trace import Trace

TRACE = pytest.StashKey[tuple[Observer, Trace]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    group = parser.getgroup("strangler")
    group.addoption(
        "--strangle-trace",
        metavar="DIRECTORY",
        help="record every statement's contexts there, a file for each process; give it to strangle_analyze --trace",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin when Django is set up and all test modules are imported."""
    if session.config.getoption("--strangle-trace") and TRACE not in session.config.stash:
        from migration_tools.analysis.context_file import load_contexts

        contexts = load_contexts()
        trace = Trace(contexts)
        observer = Observer(contexts, [trace])
        observer.install()
        session.config.stash[TRACE] = observer, trace


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test is a scope, as a request is."""
    with scope(item.nodeid):
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what this process has observed; xdist's workers have a name each."""
    if TRACE not in session.config.stash:
        return
    observer, trace = session.config.stash[TRACE]
    observer.uninstall()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    directory = Path(session.config.getoption("--strangle-trace"))
    trace.save(directory / f"trace-{worker}.json")
