"""Each endpoint of each service says how consistent it is, and the seeds' two lists say whether it may be so."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from migration_tools.contracts.http_api import CONSISTENCY, CONSISTENCY_EXTENSION, api_breaks
from tests.services import rig

SERVICES = (
    "catalog", "dashboard", "gateway", "inventory", "orders", "payments", "recommendations", "reference", "users",
)  # fmt: skip
WRITES = {"post", "put", "patch", "delete"}
# "Acceptable for" of the seeds (S1 128-132, S2 145-149): by the address of a read, and what it is.
ACCEPTABLE = {
    r"/api/feed/": "social media feeds",
    r"/api/recommendations/": "product recommendations",
    r"/api/analytics/": "analytics dashboards",
    r"/api/(web/|mobile/|customers/\{customer\}/)?dashboard/": "analytics dashboards",
    r"/api/users/\{user\}/ordered-products/": "non-critical updates: what somebody bought once",
}
# "NOT acceptable for" (S1 103-109, S2 151-154).
NOT_ACCEPTABLE = {
    r"/api/payments/": "financial transactions",
    r"/api/orders/[^/]+/(pay|cancel)/": "financial transactions",
    r"/api/stock/": "inventory reservations",
    r"/api/orders/": "critical business rules: an order is what was promised",
    r"/api/accounts/": "critical business rules: who somebody is",
    r"/api/products/": "critical business rules: what a purchase costs",
    r"/api/reference/": "regulatory requirements: taxes",
}


def document(service: str) -> dict[str, Any]:
    """The service's OpenAPI document as it is served now; a view that does not say its consistency is an error."""
    env = rig.environment(service, "none", "app")
    asked = ("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json")
    done = rig.manage(service, *asked, env=env)
    assert done.returncode == 0, (service, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def operations(service: str) -> list[tuple[str, str, dict[str, Any]]]:
    paths = document(service)["paths"]
    return [(method, path, each) for path, methods in paths.items() for method, each in methods.items()]


@pytest.mark.thorough
def test_every_endpoint_is_as_consistent_as_the_seeds_lists_ask() -> None:
    with ThreadPoolExecutor(2) as pool:
        found = [each for some in pool.map(operations, SERVICES) for each in some]
    assert len(found) > 30
    assert {operation[CONSISTENCY_EXTENSION] for _, _, operation in found} == set(CONSISTENCY)
    for method, path, operation in found:
        said = operation[CONSISTENCY_EXTENSION]
        acceptable = any(re.match(pattern, path) for pattern in ACCEPTABLE)
        critical = any(re.match(pattern, path) for pattern in NOT_ACCEPTABLE)
        assert acceptable != critical, f"{path} is on both lists or on none"
        if critical or method in WRITES:
            assert said == "strong", f"{method} {path} is {said}"
        if said == "session":
            named = any(each["name"] == "X-Read-After" for each in operation.get("parameters", ()))
            asks_the_owners = path == "/api/users/{user}/ordered-products/"
            assert named or asks_the_owners, f"{path}: how does a caller see their own write?"


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [
        ("strong", "eventual", 1),
        ("strong", "session", 1),
        ("session", None, 1),
        ("eventual", "strong", 0),
        ("session", "session", 0),
        (None, "eventual", 0),
    ],
)
def test_answers_that_become_less_consistent_are_a_break(before: str | None, after: str | None, breaks: int) -> None:
    def served(said: str | None) -> dict[str, Any]:
        return {"paths": {"/api/stock/": {"get": {"responses": {}, CONSISTENCY_EXTENSION: said} if said else {}}}}

    found = [each.rule for each in api_breaks(served(before), served(after))]
    assert found == ["consistency"] * breaks
