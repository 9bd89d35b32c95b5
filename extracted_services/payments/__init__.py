"""The payments service: a project of its own."""
