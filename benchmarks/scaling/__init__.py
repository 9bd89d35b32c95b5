"""Measures what more processes give: relays, consumers, workers of a backfill, proxies, a pooler between."""
