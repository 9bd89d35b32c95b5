"""Oscar's own test suite with and without capture on every table: `python -m tests.oscar.suite CHECKOUT [pytest's …]`.

CHECKOUT is a clone of github.com/django-oscar/django-oscar, whose suite is in no package. It is copied into a scratch
folder, run twice on a PostgreSQL of its own by the same settings, and compared by the names of its tests. The first run
is traced, and the analysis says what it found; the second has capture and fence installed as soon as Django has made
the test database; see suite_plugin. Both are on the oscar of requirements.lock, or with --its-source on that of the
clone. Not part of CI.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from migration_tools.testing.postgres import EmbeddedPostgres
from tests.architecture.tree import ROOT

# What oscar's suite imports and this project does not; without their dependencies, which are here or listed.
PACKAGES = (
    "WebTest==3.0.7", "WebOb==1.8.9", "waitress==3.0.2", "beautifulsoup4==4.14.2", "soupsieve==2.8",
    "django-webtest==1.9.14", "sorl-thumbnail==12.11.0", "easy-thumbnails==2.10.1", "freezegun==1.5.5",
    "pytz==2025.2", "Whoosh==2.7.4", "pycountry==24.6.1",
)  # fmt: skip
SETTINGS = """from tests.settings import *
from migration_tools import MONOLITH_APPS
INSTALLED_APPS = [*INSTALLED_APPS, *MONOLITH_APPS]
MIGRATION_TOOLS = {"SIDE": "oscar", "CONTEXTS": %(contexts)r}
"""
# How the map of contexts differs for the suite's project: its apps beside oscar's, and none of Django's messages.
SUITE_MAP = {
    '"auth", ': '"auth", "myauth", ',
    '"messages", ': "",
    '"treebeard", ': '"treebeard", "thumbnail", "easy_thumbnails", "model_tests_app", ',
}


def main(checkout: Path, arguments: list[str], *, its_source: bool) -> int:
    """Run twice, compare, print; 0 when every test has the same result and the triggers have fired."""
    with tempfile.TemporaryDirectory(prefix="strangler-oscar-") as name:
        scratch = Path(name)
        prepare(checkout, scratch, its_source=its_source)
        postgres = EmbeddedPostgres(scratch / "postgres")
        postgres.start()
        try:
            plain, captured = (run(scratch, postgres, arguments, capture=capture) for capture in (False, True))
        finally:
            postgres.stop("immediate")
        analyse(scratch)
    return compare(plain, captured)


def prepare(checkout: Path, scratch: Path, *, its_source: bool) -> None:
    """The suite, its packages, our plugin, and where it is asked for oscar's source of the same commit."""
    source = ["src/oscar"] if its_source else []
    archive = subprocess.run(
        ["git", "-C", str(checkout), "archive", "HEAD", "tests", *source, "setup.cfg"],
        check=True,
        capture_output=True,
    )
    subprocess.run(["tar", "x", "-C", str(scratch)], input=archive.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(scratch / "packages"), *PACKAGES], check=True)
    contexts = (Path(__file__).parent / "contexts.toml").read_text()
    for ours, the_suites in SUITE_MAP.items():
        contexts = contexts.replace(ours, the_suites)
    (scratch / "contexts.toml").write_text(contexts)
    (scratch / "suite_settings.py").write_text(SETTINGS % {"contexts": str(scratch / "contexts.toml")})
    # As a conftest above theirs: its fixtures stand before pytest-django's, which a plugin's would not.
    for file, name in (("capture.py", "strangle_capture.py"), ("suite_plugin.py", "conftest.py")):
        shutil.copy(Path(__file__).parent / file, scratch / name)


def run(scratch: Path, postgres: EmbeddedPostgres, arguments: list[str], *, capture: bool) -> dict[str, Any]:
    """One run of the suite: outcomes by test, and captured statements by table."""
    told = scratch / f"told_{capture}.json"
    env = environment(scratch) | {"SUITE_TOLD": str(told), "SUITE_CAPTURE": str(int(capture))}
    env |= {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(postgres.port), "DATABASE_USER": "postgres"}
    env |= {"DATABASE_PASSWORD": postgres.password, "DATABASE_NAME": "oscar"}
    options = ["-q", "-p", "no:cacheprovider"]
    options += ["-p", "no:strangler"]
    options += [] if capture else ["-p", "migration_tools.testing.coupling", "--strangle-trace", str(scratch / "trace")]
    options += ["--deprecation", "none", "-W", "ignore", "--create-db"]
    done = subprocess.run([sys.executable, "-m", "pytest", *options, *arguments], cwd=scratch, env=env, check=False)
    if done.returncode not in (0, 1) or not told.exists():  # 1: tests have failed, which is compared
        raise SystemExit(f"oscar's suite did not run (exit code {done.returncode})")
    return dict(json.loads(told.read_text()))


def environment(scratch: Path) -> dict[str, str]:
    """That of the suite's project: the scratch folder before our own code, and nobody's database."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PG"))}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (scratch, scratch / "src", scratch / "packages", ROOT)))
    return env | {"DJANGO_SETTINGS_MODULE": "suite_settings"}


def analyse(scratch: Path) -> None:
    """What the analysis finds in the trace of the first run: rules, and where transactions write several contexts."""
    argv = ["strangle_analyze", "--no-database", "--trace", str(scratch / "trace"), "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "django", *argv],
        cwd=scratch, env=environment(scratch), check=False, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"strangle_analyze could not read the trace (exit code {done.returncode})")
    report = json.loads(done.stdout)
    counts = ", ".join(f"{rule} {number}" for rule, number in sorted(report["counts"].items()))
    print(f"analysis of the traced run: {counts}")
    entries = Counter(each["detail"]["entry"] for each in report["findings"] if each["rule"] == "SFA202")
    in_oscar = sorted(entry for entry in entries if entry.startswith("oscar.apps."))
    print(f"{len(entries)} entry sites of transactions over several contexts, {len(in_oscar)} of them in oscar's apps:")
    for entry in in_oscar:
        print(f"  {entry}")


def compare(plain: dict[str, Any], captured: dict[str, Any]) -> int:
    """Print both runs' figures, every test that differs, and what was captured."""
    different = sorted(
        name
        for name in {*plain["outcomes"], *captured["outcomes"]}
        if plain["outcomes"].get(name) != captured["outcomes"].get(name)
    )
    for label, told in (("plain", plain), ("with capture", captured)):
        counts = sorted(Counter(told["outcomes"].values()).items())
        print(f"{label}: {len(told['outcomes'])} tests, {', '.join(f'{number} {name}' for name, number in counts)}")
    print(f"captured: {sum(captured['rows'].values())} statements of {len(captured['rows'])} tables of "
          f"{captured['tables']} with triggers")  # fmt: skip
    for table, count in sorted(captured["rows"].items(), key=lambda each: -each[1]):
        print(f"  {table:<50} {count:>8}")
    for name in different:
        print(f"DIFFERS {name}: {plain['outcomes'].get(name)}, with capture {captured['outcomes'].get(name)}")
        print(captured["why"].get(name, "")[-1500:])
    print(f"{len(different)} tests differ")
    return 0 if not different and captured["rows"] and plain["outcomes"] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.oscar.suite", description=__doc__)
    parser.add_argument("checkout", type=Path, help="a clone of django-oscar")
    parser.add_argument("arguments", nargs="*", help="for pytest: paths below the clone, -k …")
    parser.add_argument("--its-source", action="store_true", help="oscar's source of the clone, not the installed one")
    given, further = parser.parse_known_args()
    raise SystemExit(main(given.checkout, [*given.arguments, *further], its_source=given.its_source))
