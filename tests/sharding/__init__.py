"""Sharding on three real databases."""
