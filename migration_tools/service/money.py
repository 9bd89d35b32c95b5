"""Money as a service's schema keeps it (cents) and as its contract shows it (decimal strings)."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


def decimal_string(cents: int) -> str:
    """Give `cents` as a decimal string of two digits, exactly: 1234 → '12.34'."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02}"


def whole_cents(amount: Decimal | str) -> int:
    """Give a decimal amount of two digits as cents, exactly: '12.34' → 1234.

    Raises:
        ValueError: the amount has a fraction of a cent.
    """
    cents = Decimal(amount) * 100
    if cents != cents.to_integral_value():
        raise ValueError(f"{amount!r} is no whole number of cents")
    return int(cents)


@extend_schema_field({"type": "string", "pattern": r"^-?\d+\.\d{2}$"})
class CentsField(serializers.Field[int, Any, str, Any]):
    """Cents, shown as a decimal string of two digits."""

    def to_representation(self, value: int) -> str:
        """Give the decimal string."""
        return decimal_string(value)
