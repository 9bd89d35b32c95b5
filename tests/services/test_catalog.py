"""The catalogue is found by words in any script, by likeness, and by facets; staff change it, and others hear of it."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migration_tools.contracts.http_api import api_breaks, read_api
from tests.services.rig import ROOT, RunningService

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]

FILL = """
    INSERT INTO shelf_category (id, title) OVERRIDING SYSTEM VALUE VALUES (101, 'Möbel'), (102, '玩具');
    INSERT INTO shelf_product (id, code, title, price_cents, currency, category_id, features, on_sale)
    OVERRIDING SYSTEM VALUE VALUES
        (1001, 'CHAIR-1', 'Stuhl „Größe L“ aus Buche', 4999, 'EUR', 101, '{}', true),
        (1002, 'CHAIR-2', 'Stuhl aus Eiche', 15000, 'EUR', 101, '{}', true),
        (1003, 'TOY-1', '折り紙 set', 500, 'EUR', 102, '{"colour": null}', true),
        (1004, 'CHAIR-3', 'Stuhl, withdrawn', 100, 'EUR', 101, '{}', false);
"""


@pytest.fixture(scope="module")
def catalog(running: Get) -> Iterator[RunningService]:
    """The service with a few products, in the module's own database rows."""
    service = running("catalog")
    service.rows("TRUNCATE shelf_product, shelf_category")
    service.rows(FILL)
    yield service
    service.rows("TRUNCATE shelf_product, shelf_category")


def search(service: RunningService, **query: str) -> dict[str, Any]:
    with service.browser(None) as browser:
        answer = browser.get("/api/products/search/", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def trigrams(service: RunningService) -> bool:
    return service.rows("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == [(1,)]


def needs_trigrams(service: RunningService) -> None:
    if not trigrams(service):
        pytest.skip("this PostgreSQL has no contrib extensions; STRANGLE_TEST_PG_VERSION=15 has")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("stuhl", [1001, 1002]),
        ("STUHL eiche", [1002]),
        ("stuhl -eiche", [1001]),
        ("折り紙", [1003]),
        ("TOY-1", [1003]),
        ("", [1001, 1002, 1003]),
    ],
)
def test_products_on_sale_are_found_by_words_in_any_script(catalog: RunningService, words: str, ids: list[int]) -> None:
    found = search(catalog, q=words)
    assert sorted(product["id"] for product in found["results"]) == ids
    assert found["by_likeness"] is False


def test_what_nothing_is_called_is_found_by_likeness_where_postgresql_can(catalog: RunningService) -> None:
    needs_trigrams(catalog)
    found = search(catalog, q="Stuhll Eichee")
    assert found["by_likeness"] is True
    assert found["results"][0]["id"] == 1002


def test_without_the_extension_the_search_finds_by_words_alone(catalog: RunningService) -> None:
    there = trigrams(catalog)
    catalog.rows("DROP EXTENSION IF EXISTS pg_trgm CASCADE")
    try:
        assert search(catalog, q="Stuhll Eichee")["results"] == []
        assert search(catalog, q="eiche")["count"] == 1
    finally:
        if there:
            catalog.rows("CREATE EXTENSION pg_trgm")


def test_facets_count_what_each_choice_would_show_and_leave_their_own_choice_out(catalog: RunningService) -> None:
    found = search(catalog, q="stuhl", price="10 to 50")
    assert [product["id"] for product in found["results"]] == [1001]
    assert found["facets"] == {
        "category": {"Möbel": 1},
        "price": {"under 10": 0, "10 to 50": 1, "50 to 200": 1, "200 and more": 0},
    }
    toys = search(catalog, category="玩具")
    assert toys["facets"]["category"] == {"Möbel": 2, "玩具": 1}
    assert toys["facets"]["price"]["under 10"] == 1


def test_products_named_by_number_come_in_one_answer_on_sale_or_not(catalog: RunningService) -> None:
    with catalog.browser(None) as browser:
        found = browser.get("/api/products/", params={"ids": "1004,1001,7"}).json()
        assert [product["id"] for product in found] == [1001, 1004]
        assert browser.get("/api/products/", params={"ids": "1,x"}).status_code == 400


def test_staff_change_a_product_and_others_hear_of_it_in_the_same_transaction(catalog: RunningService) -> None:
    with catalog.browser(8) as customer, catalog.browser(9, staff=True) as clerk:
        assert customer.patch("/api/products/1003/", json={"price": "1.00"}).status_code == 403
        answer = clerk.patch("/api/products/1003/", json={"price": "7.25", "name": "折り紙"})
        assert (answer.status_code, answer.json()["price"], answer.json()["name"]) == (200, "7.25", "折り紙")
        assert clerk.patch("/api/products/1003/", json={"price": "7.25"}).status_code == 200
    told = catalog.rows(
        "SELECT payload FROM strangle_outbox WHERE event_type = 'product.changed' AND aggregate_id = %s", "1003"
    )
    expected = {
        "product": 1003,
        "sku": "TOY-1",
        "name": "折り紙",
        "price_cents": 725,
        "currency": "EUR",
        "active": True,
        "version": 1,
    }
    assert told == [(expected,)]
    assert search(catalog, q="折り紙")["count"] == 1


def test_both_versions_of_a_product_are_served_and_losing_the_first_is_a_break(catalog: RunningService) -> None:
    with catalog.browser(None) as browser:
        first, second = (browser.get(f"/api/products/{version}1001/") for version in ("", "v2/"))
        assert browser.get("/api/products/v2/999999/").status_code == 404
    assert (first.status_code, second.status_code) == (200, 200)
    old, new = first.json(), second.json()
    assert (
        new["price"] == {"amount": old["price"], "currency": old["currency"]} == {"amount": "49.99", "currency": "EUR"}
    )
    assert {**old, "price": new["price"]} == {**new, "currency": "EUR"}
    released = read_api(ROOT / "playbooks" / "contracts" / "api" / "catalog.json")
    assert list(api_breaks(released, catalog.document)) == []
    gone = copy.deepcopy(catalog.document)
    gone["paths"]["/api/products/{id}/"] = gone["paths"].pop("/api/products/v2/{id}/")
    found = {(each.path, each.rule) for each in api_breaks(released, gone)}
    assert found == {
        ("GET /api/products/v2/{id}/", "removed"),
        ("PATCH /api/products/{id}/", "removed"),
        ("GET /api/products/{id}/ 200 application/json $.currency", "required"),
        ("GET /api/products/{id}/ 200 application/json $.price", "type"),
    }
