"""A playbook with several mistakes reports each of them, in sentences."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core import checks
from django.db.models import F, Q, Subquery

from migration_tools.playbook import Playbook, Projection, Route
from migration_tools.playbook.validation import find_static_mistakes
from playbooks.orders import Orders


def projection(**changes: Any) -> Projection:
    values: dict[str, Any] = {"into": "sales_order", "key": {"id": "id"}, "columns": {"state": "status"}} | changes
    return Projection(values.pop("model", "orders.Order"), **values)


def playbook(**attributes: Any) -> type[Playbook]:
    return type("Broken", (Orders,), attributes)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: playbook(source="nowhere"), "source database 'nowhere'"),
        (lambda: playbook(projections=[]), "nothing to move"),
        (lambda: playbook(projections=[projection(model="orders.Odour")]), "no model 'orders.Odour'"),
        (lambda: playbook(projections=[projection(key={})]), "no key"),
        (lambda: playbook(projections=[projection(key={"id": "number"})]), "no field named 'number'"),
        (lambda: playbook(projections=[projection(columns={"a": "user__nick"})]), "'user__nick'"),
        (lambda: playbook(projections=[projection(columns={"a": Subquery(F("id"))})]), "subquery"),
        (lambda: playbook(projections=[projection(reverse={"weight": F("x")})]), "reverse of 'weight'"),
        (lambda: playbook(projections=[projection(filter=Q(user__is_active=True))]), "joins another table"),
        (lambda: playbook(projections=[projection(), projection()]), "two projections go into"),
        (lambda: playbook(routes=[Route("api/orders", service="orders")]), "must begin with '/'"),
        (lambda: playbook(routes=[Route("/a", service="ghost")]), "'ghost'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_named(made: Callable[[], type[Playbook]], expected: str) -> None:
    if expected == "subquery":
        from legacy_monolith.orders.models import Order

        broken = playbook(projections=[projection(columns={"a": Subquery(Order.objects.values("id"))})])
    else:
        broken = made()
    assert any(expected in mistake for mistake in find_static_mistakes(broken)), find_static_mistakes(broken)


def test_five_mistakes_are_five_messages_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "projections": [projection(columns={"a": "nothing", "b": "user__nothing"}, key={"id": "nope"})],
        "routes": [Route("no-slash", service="orders"), Route("no-slash", service="orders")],
    }.items():
        monkeypatch.setattr(Orders, name, value)
    found = [each for each in checks.run_checks(tags=["strangle"]) if each.id == "strangle.E010"]
    assert len(found) == 6, found  # both routes lack their slash, and are the same
    assert all(each.hint for each in found)


def test_the_real_playbook_has_none() -> None:
    assert find_static_mistakes(Orders) == []
