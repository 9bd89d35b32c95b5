"""Schema migrations of the inventory service."""
