"""What is installed in a database: capture triggers, fence, ownership, relations; declared → SQL + hash → status."""
