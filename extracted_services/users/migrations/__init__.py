"""Schema migrations of the users service."""
