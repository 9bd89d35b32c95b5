"""Schema migrations of the orders service."""
