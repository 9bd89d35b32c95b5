"""Lines of pages that are no `manage.py`: each names the test that runs it, or why nothing does."""

import re
from collections.abc import Iterator

import pytest

from tests.architecture.tree import ROOT, project_files
from tests.fences import blocks, is_typed, without_blocks

PROGRAMS = (
    "make", "pip", "pytest", "celery", "gunicorn", "createdb", "kubectl", "python -m", "docker", "psql", "curl",
)  # fmt: skip
#: How a line begins, and what shows that it works: a file that runs it, or a sentence that says why none does.
SHOWN_BY: dict[str, str] = {
    "make lint": ".ci/run",
    "make test": ".ci/run",
    "make test-thorough": ".ci/run",
    "make docs": ".ci/run",
    "make demo": ".ci/run",
    "make demo-oscar": "tests/oscar/test_demo.py",
    "make up": "tests/services/test_up.py",
    "make wheel": "tests/examples/test_tutorial.py",
    "make dist": "tests/architecture/test_wheel.py",
    "make chaos": "tests/chaos/test_matrix.py",
    "make chaos-shop": "tests/chaos/test_shop_of_services.py",
    "make chaos-sagas": "tests/sagas/test_storm.py",
    "make chaos-table": "tests/chaos/test_matrix.py",
    "make bench-messaging": "tests/integration/test_bench_messaging.py",
    "make bench-proxy": "tests/integration/test_bench_proxy.py",
    "make bench-scaling": "tests/integration/test_bench_scaling.py",
    "make bench-transfer": "tests/integration/test_benchmarks.py",
    "make the menu": "not run: it prints the Makefile's own lines",
    "make format": "not run: it would rewrite the files under test; `make lint` is its check",
    "make lock": "not run: it asks the package index what is new",
    "pip install": "tests/architecture/test_declarations.py",
    "pytest --ds": "tests/integration/test_generation.py",
    "pytest --strangle-": "tests/integration/test_coupling_plugin.py",
    "pytest legacy_monolith": "not run: a seed's wish, quoted",
    "pytest tests/chaos": "not run: a seed's wish, quoted",
    "celery -A migration_tools.transfer.celery_app worker": "tests/chaos/test_killed_workers.py",
    "celery -A migration_tools.sagas.celery_app worker": "tests/sagas/test_processes.py",
    "gunicorn extracted_services.": "tests/services/rig.py",
    "createdb": "not run: the tutorial's test makes databases with names of its run",
    "kubectl": "not run: the CI machine has no cluster; the manifests are held to their schemas",
    "curl -d": "tests/services/test_users_tokens.py",
    "python -m venv": "tests/examples/test_tutorial.py",
    "python -m benchmarks.planning": "tests/integration/test_planning.py",
    "python -m demo.traffic": "tests/integration/test_demo_traffic.py",
    "python -m tests.seeds": "tests/examples/test_seed_coverage.py",
}


def lines(text: str) -> Iterator[str]:
    """The lines of a page that begin with one of PROGRAMS, words apart by one space."""
    typed = [line for said, body in blocks(text) if is_typed(said) for line in body.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", without_blocks(text))
    for line in (*typed, *(each for each in inline if " " in each)):
        words = " ".join(line.split())
        if words.startswith(tuple(f"{program} " for program in PROGRAMS)):
            yield words


def shown(line: str) -> str | None:
    """The longest entry that the line begins with, whole words or an entry that ends within one."""
    found = [each for each in SHOWN_BY if line.startswith(each) and not re.match(r"[\w-]", line[len(each) :])]
    found += [each for each in SHOWN_BY if each.endswith((".", "-")) and line.startswith(each)]
    return max(found, key=len, default=None)


def test_every_line_is_shown_by_a_test_or_says_why_not() -> None:
    met = {line: shown(line) for path in project_files(".md") for line in lines(path.read_text())}
    assert len(met) > 50
    assert [line for line, entry in met.items() if entry is None] == []
    assert set(SHOWN_BY) - set(met.values()) == set(), "no page shows them any more"
    lost = [place for place in SHOWN_BY.values() if not place.startswith("not run: ") and not (ROOT / place).exists()]
    assert lost == []


@pytest.mark.parametrize("line", ["make bench-nothing", "celery -A shop worker", "gunicorn legacy_monolith.wsgi"])
def test_a_line_that_nobody_runs_is_found(line: str) -> None:
    assert list(lines(f"```\n{line}   --fast\n```\nand `{line}`")) == [f"{line} --fast", line]
    assert shown(line) is None
