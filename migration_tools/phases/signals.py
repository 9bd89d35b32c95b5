"""Signals for observers; sent with send_robust, so that a receiver's failure never stops a move."""

from django.dispatch import Signal

#: context, before, after, actor
phase_changed = Signal()

#: context, report
divergence_found = Signal()
