"""The catalogue's playbook with two further sinks of its stream: a cache in Redis and a warehouse in ClickHouse."""

from migration_tools.playbook import Replica
from playbooks.catalog import Catalog


class SunkCatalog(Catalog):
    replicas = [
        Replica("shelf_product", store="cache", into="product:{id}", columns=["code", "title", "price_cents"]),
        Replica("shelf_product", store="analytics", into="products", columns=["code", "title", "price_cents"]),
    ]
