"""Copy and sync, both directions, over the same compiled relations; throttle."""
