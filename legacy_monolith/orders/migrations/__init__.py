"""Schema migrations of the orders app."""
