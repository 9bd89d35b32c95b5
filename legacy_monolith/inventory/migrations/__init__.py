"""Schema migrations of the inventory app."""
