"""Customers: who may sign in, and under which name they shop."""
