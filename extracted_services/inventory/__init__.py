"""The inventory service: a project of its own."""
