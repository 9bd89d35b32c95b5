"""Schema migrations of the payments app."""
