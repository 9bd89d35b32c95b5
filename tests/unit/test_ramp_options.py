"""The options of a ramp: what makes none is refused, all mistakes at once."""

import pytest
from django.core.management import CommandError

from migration_tools.management.commands.strangle_switch_reads import Command, read_ramp


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--steps 5,1", "write growing shares"),
        ("--steps 5,101", "write growing shares"),
        ("--steps x", "write growing shares"),
        ("--steps 5 --percent 5", "exclude each other"),
        ("--steps 5 --gate error", "choose from errors, latency, diff"),
        ("--steps 5 --min-requests 0", "no data is not green"),
        ("--percent 101", "must be 0 to 100"),
    ],
)
def test_options_that_make_no_ramp_are_refused(options: str, said: str) -> None:
    parsed = Command().create_parser("manage.py", "strangle_switch_reads").parse_args(["orders", *options.split()])
    with pytest.raises(CommandError, match=said) as caught:
        read_ramp(vars(parsed))
    assert caught.value.returncode == 2
