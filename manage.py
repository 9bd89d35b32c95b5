#!/usr/bin/env python
"""Django's command line: the example monolith by default, a service with --settings."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "legacy_monolith.settings")
    from django.core.management import execute_from_command_line

    from migration_tools.messaging.context import caused_by_command

    with caused_by_command(sys.argv):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
