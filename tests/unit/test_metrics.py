"""Metrics as text: what Prometheus reads, complete and escaped, and documented."""

import re

from migration_tools.messaging.metrics import FAMILIES, Sample, render
from tests.architecture.tree import ROOT


def test_a_family_has_help_type_and_its_samples_together() -> None:
    text = render(
        [
            Sample(name="strangle_dead_letters", value=2, labels={"stream": "orders"}),
            Sample(name="strangle_stream_position", value=123_456_789, labels={"stream": "orders"}),
            Sample(name="strangle_dead_letters", value=0, labels={"stream": 'a"b\\c\n'}),
        ]
    )
    assert text.splitlines() == [
        "# HELP strangle_stream_position Last numbered position of a stream of this side.",
        "# TYPE strangle_stream_position gauge",
        'strangle_stream_position{stream="orders"} 123456789',
        "# HELP strangle_dead_letters Events that are parked on this side.",
        "# TYPE strangle_dead_letters gauge",
        'strangle_dead_letters{stream="orders"} 2',
        'strangle_dead_letters{stream="a\\"b\\\\c\\n"} 0',
    ]


def test_every_metric_is_documented_with_its_type_and_nothing_else_is() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(strangle_\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert rows == {name: kind for name, (kind, _) in FAMILIES.items()}
