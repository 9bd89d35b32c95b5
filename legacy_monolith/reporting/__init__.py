"""Reports that join the tables of every app: one of the sins."""
