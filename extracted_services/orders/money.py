"""Money as the schema keeps it (cents) and as the contract shows it (decimal strings)."""


def decimal_string(cents: int) -> str:
    """Give `cents` as a decimal string of two digits, exactly: 1234 → '12.34'."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02}"
