"""Compare the two sides exactly while writes go on: digests, drill-down to rows and fields, reports, repair."""
