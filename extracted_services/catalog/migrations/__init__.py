"""Schema migrations of the catalog service."""
