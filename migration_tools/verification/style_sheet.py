"""The choice of one class of differences, without a script."""

from migration_tools.verification.report import DifferenceKind


def filter_rules() -> str:
    """One colour a class, and one choice that hides every other class, without a script."""
    return "".join(
        f".k-{kind}{{--kind:var(--{kind})}}"
        f"body:has(#only-{kind}:checked) :is(.difference:not(.k-{kind}),.table:not(:has(.k-{kind})))"
        "{display:none}"
        for kind in DifferenceKind
    )
