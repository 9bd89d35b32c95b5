"""The model check takes a playbook: which schedules it calls for, and that a wrong protocol fails for each of them."""

import pytest
from django.db.models import Q

from migration_tools.kernel.positions import Admission
from migration_tools.playbook import Playbook, Projection
from migration_tools.testing.model.playbooks import Traits, scenarios, traits_of
from migration_tools.testing.model.protocol import Protocol
from migration_tools.testing.plugin import InterleavingFound, Interleavings
from playbooks.orders import Orders


class Plain(Playbook):
    """One table without anything of note, which stays where it is."""

    context = "plain"
    target = "orders"
    references = [
        Projection("orders.OrderLine", into="line", key={"id": "id"}, columns={"qty": "quantity"}, filter=Q(quantity=1))
    ]


def test_traits_follow_from_the_declaration_and_its_models() -> None:
    assert traits_of(Orders) == {
        "sales_order": Traits(owned=True, unique=True, joined=True, drawn=True),
        "sales_orderitem": Traits(owned=True, unique=False, joined=True, drawn=True),
        "sales_product": Traits(owned=False, unique=True, joined=False, drawn=True),
    }
    assert traits_of(Plain) == {"line": Traits(owned=False, unique=False, joined=False, drawn=True)}


def test_what_stays_where_it_is_is_not_handed_over() -> None:
    assert [each.moves for each in scenarios(Plain)] == [(), ()]
    assert [each.moves for each in scenarios(Orders)].count((1, 0)) == 2


def test_tables_of_equal_traits_are_explored_once() -> None:
    twice = type("Twice", (Plain,), {"references": [*Plain.references, *_renamed(Plain)]})
    assert [each.name.partition(":")[0] for each in scenarios(twice)] == ["line, line_too"] * 2


def _renamed(playbook: type[Playbook]) -> list[Projection]:
    (one,) = playbook.references
    return [Projection(one.model, into="line_too", key={"id": "id"}, columns={"qty": "quantity"})]


@pytest.mark.thorough
def test_no_schedule_of_the_orders_playbook_breaks_a_property() -> None:
    told: list[str] = []
    found = Interleavings(told, "test").of(Orders)
    assert len(found) == len(told) == 10
    assert all(each.holds for each in found)
    assert sum(each.states for each in found) > 2_000


@pytest.mark.parametrize("playbook", [Orders, Plain])
def test_a_careless_protocol_fails_for_a_playbook(playbook: type[Playbook]) -> None:
    careless = Protocol(admit=lambda at, first, last: Admission.TAKE, fresh=lambda records, at: list(records))
    with pytest.raises(InterleavingFound):
        Interleavings([], "test").of(playbook, protocol=careless)
