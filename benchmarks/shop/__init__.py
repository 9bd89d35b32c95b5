"""The shop that the benchmark carries over: one table of orders."""
