"""The shop monolith: the example that a context is extracted from."""
