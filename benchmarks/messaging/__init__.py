"""Benchmarks of the way from a commit in the shop to the applied row in the service."""
