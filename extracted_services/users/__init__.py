"""The users service: a project of its own."""
