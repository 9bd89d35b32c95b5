"""Commands of the reference service."""
