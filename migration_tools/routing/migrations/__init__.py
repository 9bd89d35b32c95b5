"""Schema migrations of the routing app."""
