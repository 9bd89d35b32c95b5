"""Tests of the extracted services that stand beside orders: what each does alone, and what they do together."""
