"""Seams in the monolith's code: one place to ask a context, whoever owns it now; needs Django alone."""

from migration_tools.seams.instances import remote_instance
from migration_tools.seams.seam import Seam, seam

__all__ = ["Seam", "remote_instance", "seam"]
