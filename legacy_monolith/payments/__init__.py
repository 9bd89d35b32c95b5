"""Payments: one for each order."""
