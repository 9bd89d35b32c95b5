"""Commands of the inventory service."""
