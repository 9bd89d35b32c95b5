"""Answers put together from several services, in parallel, within a deadline, complete or honestly partial."""
