"""Rows of one kind over several databases: virtual buckets, a versioned map, and buckets that move while written."""
