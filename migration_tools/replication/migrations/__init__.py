"""Schema migrations of the replication room."""
