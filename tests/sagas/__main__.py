"""Thousands of checkouts of the example shop at random over real databases: `make chaos-sagas RUNS=10000 SEED=1`.

What a storm is stands in tests.sagas.storm. The exit status is 1 when anything was lost, doubled or left open.
"""

import argparse
import os
import sys
import time

import django

from migration_tools.testing.postgres import EmbeddedPostgres, fleeting_directory


def main(arguments: list[str] | None = None) -> int:
    """Play a storm on a server of its own; 0 if the books are right afterwards, else 1."""
    parser = argparse.ArgumentParser(prog="make chaos-sagas", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many checkouts (RUNS)")
    parser.add_argument("--seed", type=int, default=None, help="what chance is drawn from (SEED)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "legacy_monolith.settings")
    django.setup()
    from tests.sagas import storm_audit
    from tests.sagas.storm import Storm
    from tests.services.shop import opened

    seed = options.seed if options.seed is not None else int(time.time())
    with EmbeddedPostgres(fleeting_directory()) as own:
        os.environ.update(STRANGLE_TEST_PG_PORT=str(own.port), STRANGLE_TEST_PG_PASSWORD=own.password)
        with opened(own) as shop:
            report = Storm(shop, runs=options.runs, seed=seed).blow()
    print(report)
    for where, count in sorted(report.struck.items()):
        print(f"  {count:5} {where}")
    if report.violations:
        print(storm_audit.listed(report.violations))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
