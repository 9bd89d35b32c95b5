"""The survey: customers shop at a traced monolith, the analysis is asked, and the contexts leave in its order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from demo.further import first
from demo.narrate import Narrator
from demo.processes import NotReady, Supervisor
from demo.stack import CONTEXT, Stack
from demo.traffic import Traffic

ASKED = {
    *("sign up", "browse", "product", "purchase", "pay", "ship", "cancel"),
    *("list orders", "read order", "ordered products", "rename"),
}
"""What customers must have done once before the analysis knows what the shop does; nothing of it is measured."""

SECONDS = 120.0


def survey(stack: Stack, supervisor: Supervisor, narrator: Narrator, *, seed: int) -> tuple[str, ...]:
    """Find the order in which the stack's contexts leave, and tell why it is this one.

    Raises:
        NotReady: A request failed, or the command did.
    """
    narrator.chapter("Where to cut: customers shop at the monolith with the tracer on, and the analysis is asked")
    traces = supervisor.directory / "traces"
    with stack.traced_monolith(traces) as url:
        ledger = supervisor.directory / "survey.jsonl"
        traffic = Traffic(url=url, ledger=ledger, seed=seed, contexts=stack.contexts)
        with traffic:
            supervisor.await_condition(
                "each kind of request at the traced monolith",
                lambda: bool(traffic.tally.summary()["by_request"].keys() >= ASKED or traffic.tally.failed),
                SECONDS,
            )
        for failure in traffic.tally.failures:
            raise NotReady(f"{failure.request} failed at the traced monolith: {failure.status} {failure.detail}")
    asked = ("strangle_analyze", "--trace", str(traces), "--format", "json")
    report = json.loads(stack.manage(*asked, role="strangler"))
    suggested = in_suggested_order(report, stack.contexts)
    narrator.good(f"{report['sources'][1]}: the analysis suggests {', '.join(suggested)}")
    for sentence in reasons(report, stack.contexts):
        narrator.say(sentence)
    if suggested[0] != CONTEXT:
        narrator.say(
            f"all the same {CONTEXT} leave first: this story begins with them, and their code in the monolith joins "
            "products, which would be gone"
        )
    return first(suggested)


def in_suggested_order(report: Mapping[str, Any], contexts: Sequence[str]) -> tuple[str, ...]:
    """Sort contexts as a report's plan has them; each is known there by the service that it goes to."""
    services = {each["name"]: each["services"] for each in report["contexts"]}
    plan = [service for cut in report["plan"] for service in services[cut["context"]]]
    return tuple(sorted(contexts, key=plan.index))


def reasons(report: Mapping[str, Any], contexts: Sequence[str]) -> list[str]:
    """What the report says of the order of these contexts, beside what they cost."""
    services = {each["name"]: each["services"] for each in report["contexts"]}
    return [
        f"{cut['context']} leaves {'; and '.join(cut['because'])}"
        for cut in report["plan"]
        if cut["because"] and set(services[cut["context"]]) & set(contexts)
    ]
