"""One team removes a column that another one reads: the build fails, names the reader, and passes when it is agreed."""

import json
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from migration_tools.analysis.baseline import Baseline
from migration_tools.analysis.foreign_columns import ForeignColumn, foreign_columns
from migration_tools.analysis.trace import Trace
from migration_tools.checks import check_columns
from tests.architecture.tree import PACKAGES, ROOT
from tests.integration.test_analysis import tracing

READER = "legacy_monolith.payments.planted.gifts"
PLANTED = """
from legacy_monolith.orders.models import Order


def gifts():
    return list(Order.objects.filter(note="a gift").values_list("id", "total"))


def whole(key):
    return list(Order.objects.filter(public_id=key))


def close():
    Order.objects.update(status="placed")
"""
KEY = "00000000-0000-0000-0000-000000000000"


def planted() -> dict[str, Any]:
    """Code of the payments, whose rows are not the orders'."""
    namespace: dict[str, Any] = {"__name__": "legacy_monolith.payments.planted"}
    exec(compile(PLANTED, str(ROOT / "legacy_monolith" / "payments" / "planted.py"), "exec"), namespace)  # noqa: S102
    return namespace


def recorded() -> Trace:
    code = planted()
    with tracing() as trace:
        code["gifts"]()
        code["whole"](KEY)
        code["close"]()
    return trace


@pytest.mark.django_db
def test_whole_rows_tell_what_they_are_sought_by_and_parts_of_rows_every_column() -> None:
    found = {(each.context, each.function.rpartition(".")[2], each.column) for each in foreign_columns(recorded())}
    assert found == {
        ("payments", "gifts", "orders_order.id"),
        ("payments", "gifts", "orders_order.total"),
        ("payments", "gifts", "orders_order.note"),
        ("payments", "whole", "orders_order.public_id"),
        ("payments", "close", "orders_order.status"),
    }


@pytest.mark.django_db
def test_a_column_that_no_model_has_any_more_fails_check_and_guard_until_it_is_accepted(tmp_path: Path) -> None:
    trace, baseline = recorded(), tmp_path / "baseline.json"
    trace.save(tmp_path / "trace.json")
    shop = str(ROOT / "legacy_monolith" / "contexts.toml")

    def guard(action: str, *args: str, **options: Any) -> str:
        out = StringIO()
        call_command("strangle_guard", action, "--trace", str(tmp_path / "trace.json"), *args, stdout=out, **options)
        return out.getvalue()

    with override_settings(MIGRATION_TOOLS={"GUARD_BASELINE": str(baseline), "CONTEXTS": shop}):
        assert check_columns(None) == []
        guard("baseline")
        assert check_columns(None) == []
        known = Baseline.read(baseline)
        gone = ForeignColumn(column="orders_order.gift_wrap", context="payments", function=READER)
        Baseline(known.couplings, known.columns | {gone}).save(baseline)
        (error,) = check_columns(None)
        assert (error.id, error.msg) == (
            "strangle.E172", f"baseline.json: nothing has orders_order.gift_wrap, which payments uses in {READER}",
        )  # fmt: skip
        assert "strangle_guard baseline --accept" in str(error.hint)
        for action in ("check", "baseline"):
            with pytest.raises(CommandError, match="1 uses by other contexts lost their column") as refused:
                guard(action)
            assert refused.value.returncode == 3
        assert Baseline.read(baseline).columns == known.columns | {gone}
        guard("baseline", accept=True)
        assert (Baseline.read(baseline).columns, check_columns(None)) == (known.columns, [])
        baseline.write_text("no JSON")
        assert [each.id for each in check_columns(None)] == ["strangle.E172"]


@pytest.mark.thorough
@pytest.mark.django_db
def test_removing_a_column_that_another_context_reads_fails_the_build(tmp_path: Path) -> None:
    """In a copy of the shop: the planted reader is listed, the column goes, `manage.py check` ends the build."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", tmp_path)
    (tmp_path / "legacy_monolith" / "payments" / "planted.py").write_text(PLANTED)
    recorded().save(tmp_path / "trace.json")

    def manage(*args: str) -> subprocess.CompletedProcess[str]:
        # The playbook of the orders would say too that the column is gone.
        env = {**os.environ, "STRANGLE_CONTEXTS": "catalog", "PYTHONPATH": str(tmp_path)}
        env["DJANGO_SETTINGS_MODULE"] = "legacy_monolith.settings"
        arguments = [sys.executable, "manage.py", *args]
        return subprocess.run(
            arguments, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
        )

    told = json.loads(
        manage("strangle_analyze", "--impact", "orders.Order.note", "--trace", "trace.json", "--format", "json").stdout
    )
    assert (READER, "payments", "read") in {(use["what"], use["context"], use["how"]) for use in told["uses"]}
    assert manage("strangle_guard", "baseline", "--trace", "trace.json").returncode == 0
    before = manage("check")
    assert before.returncode == 0, before.stderr
    models = tmp_path / "legacy_monolith" / "orders" / "models.py"
    lines = models.read_text().splitlines(keepends=True)
    (line,) = [number for number, text in enumerate(lines) if text.startswith("    note = ")]
    models.write_text("".join(lines[:line] + lines[line + 1 :]))
    after = manage("check")
    assert after.returncode == 1
    assert f"nothing has orders_order.note, which payments uses in {READER}" in after.stderr
    assert "(strangle.E172)" in after.stderr
    assert manage("strangle_guard", "baseline", "--trace", "trace.json").returncode == 3
    assert manage("strangle_guard", "baseline", "--trace", "trace.json", "--accept").returncode == 0
    agreed = manage("check")
    assert agreed.returncode == 0, agreed.stderr
