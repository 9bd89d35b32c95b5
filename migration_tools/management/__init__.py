"""Management commands: one per phase and tool, thin over the API."""
