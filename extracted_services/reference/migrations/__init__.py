"""Schema migrations of the reference service."""
