"""The catalog service: a project of its own."""
