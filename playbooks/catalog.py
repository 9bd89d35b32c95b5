"""The catalog context: categories and products, into a service that finds them by words and likeness."""

from migration_tools.playbook import CountEqual, NoOrphans, Playbook, Projection, Route, Unique
from playbooks.evidence import gates as gates_of
from playbooks.money import cents, money


class Catalog(Playbook):
    """Both tables move; what is searched by is made by the service's own database."""

    context = "catalog"
    source = "default"
    target = "catalog"
    projections = [
        Projection(
            "catalog.Category",
            into="shelf_category",
            key={"id": "id"},
            columns={"title": "name"},
        ),
        Projection(
            "catalog.Product",
            into="shelf_product",
            key={"id": "id"},
            columns={
                "code": "sku",
                "title": "name",
                "price_cents": cents("price"),
                "currency": "currency",
                "category_id": "category_id",
                "features": "attributes",
                "on_sale": "active",
                "version": "version",
            },
            reverse={"price": money("price_cents")},
        ),
    ]
    routes = [Route("/api/products", service="catalog")]
    invariants = [NoOrphans("shelf_product"), Unique("shelf_product", ["code"]), CountEqual("shelf_category")]
    gates = gates_of(context)
