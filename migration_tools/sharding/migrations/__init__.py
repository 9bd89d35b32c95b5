"""Schema migrations of the sharding room."""
