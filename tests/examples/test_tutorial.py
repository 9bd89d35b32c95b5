"""The tutorial, done as it is written: projects by startproject, with nothing of this repository but the wheel."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psycopg
import pytest
from packaging.requirements import Requirement

from tests.architecture.tree import MADE, ROOT
from tests.conftest import Cluster, recreate_plain
from tests.fences import blocks

pytestmark = pytest.mark.thorough

TUTORIAL = (ROOT / "docs" / "tutorial" / "first-backfill.md").read_text()
PLACE = re.compile(r"# (add to )?([\w./]+\.py)\n")
#: What the machine has to have is given by the test.
GIVEN = ("python -m venv", "source ", "pip install", "createdb")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python that has the wheel, and what its extra asks for, no more, from where the tests have it."""
    source = tmp_path / "checkout"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*MADE))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(source)
    directory = tmp_path / "venv"
    venv.create(directory, with_pip=False)
    made = directory / "bin" / "python"
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(made),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
    )
    site = next((directory / "lib").glob("python*")) / "site-packages"
    for name in asked_for(site, {"engine"}):
        for file in metadata.files(name) or ():
            top = file.parts[0]
            if top != ".." and not (site / top).exists():
                (site / top).symlink_to(str(metadata.distribution(name).locate_file(top)))
    (directory / "bin" / "django-admin").write_text(f'#!/bin/sh\nexec {made} -m django "$@"\n')
    (directory / "bin" / "django-admin").chmod(0o755)
    return made


def asked_for(site: Path, extras: set[str]) -> set[str]:
    """What pip would install beside the wheel in `site`: the distributions that it and its extras ask for, in turn."""
    (info,) = site.glob("django_strangler-*.dist-info")
    found: dict[str, set[str]] = {}
    waiting: list[tuple[metadata.Distribution, set[str]]] = [(metadata.Distribution.at(info), extras)]
    while waiting:
        distribution, wanted = waiting.pop()
        for requirement in map(Requirement, distribution.requires or ()):
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": each}) for each in wanted | {""}):
                continue
            if requirement.name not in found or not requirement.extras <= found[requirement.name]:
                found.setdefault(requirement.name, set()).update(requirement.extras)
                waiting.append((metadata.distribution(requirement.name), set(requirement.extras)))
    return set(found)


@pytest.fixture
def databases(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Two empty databases with the tutorial's names behind names of this run; what the programs' settings read."""
    names = {name: f"{name}_{os.urandom(4).hex()}" for name in ("shop", "notes")}
    for name in names.values():
        recreate_plain(cluster, name)
    yield names
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        for name in names.values():
            conn.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))


class Reader:
    """Somebody who does what the tutorial says."""

    def __init__(self, home: Path, python: Path, cluster: Cluster, names: dict[str, str]) -> None:
        self.home, self.names, self.where = home, names, home
        self.ports = {"8001": str(free_port()), "8002": str(free_port())}
        self.environment = {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "PGPORT": str(cluster.port),
            "PGPASSWORD": cluster.password,
            "LANG": "C.UTF-8",
        }
        self.terminals: list[subprocess.Popen[bytes]] = []
        self.said = ""

    def write(self, text: str) -> None:
        """Save a block of code where its first line says."""
        found = PLACE.match(text)
        assert found, text
        path = self.home / found[2]
        for name, port in self.ports.items():
            text = text.replace(f":{name}/", f":{port}/")
        for name, ours in self.names.items():
            text = text.replace(f'database("{name}")', f'database("{ours}")').replace(
                f'"NAME": "{name}"', f'"NAME": "{ours}"'
            )
        body = text[found.end() :]
        path.write_text(path.read_text() + "\n" + body if found[1] else body)

    def type(self, line: str, *, code: int = 0) -> None:
        """Type a line and wait for its end."""
        if line.startswith("cd "):
            self.where = (self.where / line.removeprefix("cd ")).resolve()
            return
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.where, env=self.environment, capture_output=True, text=True, check=False,
            timeout=240,
        )  # fmt: skip
        self.said = done.stdout
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"

    def leave_running(self, lines: list[str]) -> None:
        """Open another terminal; its first line says where."""
        place = self.home / lines[0].removeprefix("cd ")
        for line in lines[1:]:
            words = [self.ports.get(word, word) for word in shlex.split(line)]
            log = (self.home / f"{words[2]}-{place.name}.log").open("wb")
            self.terminals.append(
                subprocess.Popen(words, cwd=place, env=self.environment, stdout=log, stderr=log, start_new_session=True)
            )
            log.close()

    def close(self) -> None:
        """End what runs."""
        for process in self.terminals:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.terminals:
            process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_the_tutorial_leads_where_it_says(
    tmp_path: Path, python: Path, cluster: Cluster, databases: dict[str, str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    reader = Reader(home, python, cluster, databases)
    told: dict[str, str] = {}
    try:
        for language, body in blocks(TUTORIAL):
            lines = [line for line in body.splitlines() if line and not line.startswith(GIVEN)]
            if language == "python":
                reader.write(body)
            elif language == "terminal":
                reader.leave_running(lines)
            else:
                code = int(language.removeprefix("fails ")) if language.startswith("fails") else 0
                for number, line in enumerate(lines, 1):
                    reader.type(line, code=code if number == len(lines) else 0)
                    told[line] = reader.said
    finally:
        reader.close()
    compared = told["python manage.py strangle_verify notes"]
    assert "10,000 rows compared" in compared
    assert "equal; phase 'verify' is reached" in compared
    assert "phase monolith_only" in told["python manage.py strangle_status notes"]
