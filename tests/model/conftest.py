"""The plugin as these tests load it: the toolkit is not installed where its own tests run."""

from migration_tools.testing.plugin import interleavings, pytest_terminal_summary

__all__ = ["interleavings", "pytest_terminal_summary"]
