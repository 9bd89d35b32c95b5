"""Money in playbooks: numeric in the monolith, whole cents in services."""

from django.db.models import BigIntegerField, DecimalField, F, Value
from django.db.models.functions import Cast

MONEY = DecimalField(max_digits=20, decimal_places=2)


def cents(field: str) -> Cast:
    """Money of the monolith (numeric) as a service keeps it (whole cents)."""
    return Cast(F(field) * Value(100), BigIntegerField())


def money(field: str) -> object:
    """Whole cents as numeric again."""
    return Cast(F(field), MONEY) / Value(100)
