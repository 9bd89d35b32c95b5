"""Run the routing proxy: an agent that drives one Envoy by the published routing table."""

import importlib
import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from migration_tools.management.examples import Examples


class Command(Examples):
    help = (
        "Run the routing proxy until SIGTERM. While the database is away it serves by the last good files. "
        "Exit codes: 0 stopped in order, 1 error, 2 usage."
    )
    examples = ("run",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        run = actions.add_parser("run", help="drive Envoy until SIGTERM or SIGINT")
        run.add_argument("--listen", metavar="HOST:PORT", help="where clients connect")
        run.add_argument("--directory", help="private directory for Envoy's files (default var/proxy)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verbosity"] > 0:
            logging.getLogger("proxy").setLevel(logging.INFO)
            if not logging.getLogger().handlers:
                logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        try:
            # The proxy is an application beside the toolkit and not in its wheel, so it is named at run time.
            control = importlib.import_module("proxy.control")
        except ModuleNotFoundError as error:
            raise CommandError(
                f"the proxy application cannot be imported: {error}; run the command in the checkout "
                f"that holds proxy/, with pip install 'django-strangler[proxy]'"
            ) from error
        control.run(listen=options["listen"], directory=options["directory"])
