"""The comparator's ties to Django: table and rules read from the database, findings added to it, signals obeyed."""

import logging
from collections.abc import Mapping

from django.db import Error, connections

from migration_tools.conf import settings
from migration_tools.errors import RoutingError
from migration_tools.routing import publishing
from migration_tools.routing.shadow.rules import all_approved
from migration_tools.routing.shadows import Tally, report_shadows
from proxy.comparator import Comparator, ComparatorOptions
from proxy.control import run_until_signalled
from proxy.judging import Known
from proxy.options import read_options

logger = logging.getLogger(__name__)


class DatabaseKnowledge:
    """Read table and rules; after an error the connection is made anew."""

    def __init__(self) -> None:
        self._table = publishing.TableReader()

    def __call__(self) -> Known:
        try:
            return Known(table=self._table(), rules=all_approved())
        except Error:
            connections[settings().DATABASE].close()
            raise


def tell(tallies: Mapping[tuple[str, str], Tally]) -> None:
    """Add what was found to the sums in the monolith's database."""
    try:
        report_shadows(tallies)
    except Error:
        connections[settings().DATABASE].close()
        raise


def run(*, listen: str | None, workers: int, waiting: int, timeout_seconds: float, reveal: bool) -> None:
    """Run the comparator until SIGTERM or SIGINT.

    Raises:
        RoutingError: options that cannot be used, or an address that is taken.
    """
    options = read_options(shadow=listen)
    if options.shadow is None:
        raise RoutingError(
            "MIGRATION_TOOLS['PROXY']['SHADOW'] does not say where the comparator listens; "
            "set it to an address such as '127.0.0.1:8010'"
        )
    wanted = ComparatorOptions(
        listen=options.shadow, workers=workers, waiting=waiting, timeout_seconds=timeout_seconds, reveal=reveal
    )
    try:
        comparator = Comparator(wanted, options.upstreams, DatabaseKnowledge(), tell)
    except OSError as error:
        raise RoutingError(f"cannot listen on {options.shadow}: {error.strerror}; is a comparator running?") from error
    logger.info("comparator listens on %s", comparator.address)
    run_until_signalled(comparator)
