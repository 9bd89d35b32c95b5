"""A project of django-outbox-pattern, run by a virtual environment of its own."""
