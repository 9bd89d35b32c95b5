"""Hold a playbook to the models that it maps; the generated test calls this."""

from migration_tools.errors import PlaybookError
from migration_tools.playbook import Playbook
from migration_tools.playbook.validation import find_static_mistakes


def assert_no_mistakes(playbook: type[Playbook]) -> None:
    """Everything that `manage.py check` says of a playbook without asking a database.

    Raises:
        PlaybookError: with all mistakes at once.
    """
    if mistakes := find_static_mistakes(playbook):
        raise PlaybookError(playbook.context, mistakes)
