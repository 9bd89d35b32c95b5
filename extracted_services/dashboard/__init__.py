"""The dashboard service: read models over the events of users, catalogue and orders; it writes nothing else."""
