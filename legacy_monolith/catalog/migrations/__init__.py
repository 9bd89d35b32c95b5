"""Schema migrations of the catalog app."""
