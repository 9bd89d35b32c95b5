"""Schema migrations of the payments service."""
