"""A process that has loaded Django once and forks each command from itself: no cell waits for imports.

A forked command is a process of its own, with its own pid, environment, settings and connections, so it can be killed,
stopped and waited for like one started by hand. Nothing is shared but the code that was imported before the fork.
"""

import json
import os
import random
import selectors
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.conftest import ROOT


class Child:
    """One forked command; `status` is its exit code, negative for the signal that ended it, None while it lives."""

    def __init__(self, pid: int, output: Path):
        self.pid = pid
        self.output = output
        self.status: int | None = None
        self._ended = threading.Event()

    def wait(self, seconds: float) -> int | None:
        """The exit status, or None when it still lives after that time."""
        self._ended.wait(seconds)
        return self.status

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self.send(signal.SIGKILL)
        self._ended.wait(20)

    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self.output.read_text(errors="replace")

    def note_end(self, status: int) -> None:
        """Called by the nursery."""
        self.status = status
        self._ended.set()


class Nursery:
    """Forks commands of one settings module until closed; closing it kills whatever is left."""

    def __init__(self, settings: str, env: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            cwd=ROOT,
            env={**os.environ, **env, "DJANGO_SETTINGS_MODULE": settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._children: dict[int, Child] = {}
        self._early: dict[int, int] = {}
        self._born: list[int] = []
        self._lock = threading.Lock()
        self._news = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(self, argv: list[str], env: dict[str, str], output: Path) -> Child:
        """Fork `manage.py <argv>` with exactly this environment."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"argv": argv, "env": env, "output": str(output)}) + "\n")
            self._process.stdin.flush()
            with self._news:
                if not self._news.wait_for(lambda: self._born, 60):
                    raise RuntimeError("the nursery does not answer")
                child = Child(self._born.pop(), output)
                self._children[child.pid] = child
                if child.pid in self._early:
                    child.note_end(self._early.pop(child.pid))
        return child

    def close(self) -> None:
        """End the nursery and every command that it forked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._listener.join(20)
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            news = json.loads(line)
            with self._news:
                if "born" in news:
                    self._born.append(news["born"])
                    self._news.notify_all()
                elif news["ended"] in self._children:
                    self._children.pop(news["ended"]).note_end(news["status"])
                else:
                    self._early[news["ended"]] = news["status"]


def main() -> None:
    """Serve requests from stdin until it is closed."""
    import django

    django.setup()
    _load()
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: set[int] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(reader, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    line = sys.stdin.readline()
                    if not line:
                        for pid in living:
                            os.kill(pid, signal.SIGKILL)
                        return
                    pid = _fork(json.loads(line))
                    living.add(pid)
                    print(json.dumps({"born": pid}), flush=True)
                else:
                    os.read(reader, 4096)
                    _reap(living)


def _reap(living: set[int]) -> None:
    for pid in list(living):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            living.discard(pid)
            print(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status)}), flush=True)


def _load() -> None:
    """Import what commands and web requests will need."""
    from django.conf import settings
    from django.core.management import get_commands, load_command_class
    from django.core.servers import basehttp
    from django.urls import get_resolver

    for name, app in get_commands().items():
        if name.startswith("strangle"):
            load_command_class(app, name)
    _ = get_resolver().url_patterns, basehttp.run, settings.MIGRATION_TOOLS
    import kombu
    import kombu.transport.pyamqp
    import kombu.transport.redis

    _ = kombu.__version__


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.clear()
        os.environ.update(request["env"])
        random.seed()
        _forget_the_nursery()
        status = _run(request["argv"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _forget_the_nursery() -> None:
    """Read the settings and the points again, as the child's own environment has them."""
    from django.conf import settings
    from django.db import connections
    from django.utils.connection import Local  # type: ignore[attr-defined]
    from django.utils.functional import empty

    from migration_tools.kernel import points

    sys.modules.pop(os.environ["DJANGO_SETTINGS_MODULE"], None)
    settings._wrapped = empty
    connections._settings = None  # type: ignore[attr-defined]
    connections.__dict__.pop("settings", None)
    connections._connections = Local(connections.thread_critical)  # type: ignore[attr-defined]
    points.arm_from_environment()


def _run(argv: list[str]) -> int:
    if argv[0] == "serve":
        from django.core.servers.basehttp import run
        from django.core.wsgi import get_wsgi_application

        run("127.0.0.1", int(argv[1]), get_wsgi_application(), threading=True)
        return 0
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(["manage.py", *argv])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    main()
