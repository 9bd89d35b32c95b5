"""Pure Python beneath everything: ids, lock names, sync points. No Django, no driver."""
