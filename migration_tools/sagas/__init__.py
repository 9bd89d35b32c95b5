"""Sagas: one business transaction over several services as local transactions, messages and compensations."""
