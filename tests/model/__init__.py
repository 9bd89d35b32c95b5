"""Tests: the model check."""
