"""Measures the toolkit beside the limit of the machine and beside its peers, in one run: `make bench-transfer`."""
