"""Fixtures of the race tests."""

from tests.races.scene import few_rows_a_chunk

__all__ = ["few_rows_a_chunk"]
