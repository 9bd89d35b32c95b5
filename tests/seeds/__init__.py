"""Every system that the seed documents describe, and what in this project shows it."""
