"""Schema migrations of the reporting app."""
