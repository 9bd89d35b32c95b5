"""The monolith as test suites run it that switch schema migrations off: tables are made from the models alone."""

from legacy_monolith.settings import *  # noqa: F403


class _None:
    """No app has migrations; what pytest-django's --nomigrations puts in."""

    def __contains__(self, app: str) -> bool:
        return True

    def __getitem__(self, app: str) -> None:
        return None


MIGRATION_MODULES = _None()
