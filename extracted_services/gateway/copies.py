"""Which entities of other services the gateway keeps, and what becomes of them when they are deleted there."""

from migration_tools.replication.asking import HttpSource
from migration_tools.replication.declaration import Copy
from migration_tools.replication.targets import OnDelete, Target

USERS = Copy(
    "users",
    stream="users",
    says=["user.registered", "user.renamed"],
    ends=["user.deleted"],
    key="user_id",
    version="version",
    targets=[
        Target(table="gateway_user", key="id", columns={"name": "name"}, on_delete=OnDelete.CASCADE, own_row=True)
    ],
    source=HttpSource(service="users", path="/api/users/", names={"user_id": "id"}),
)

PRODUCTS = Copy(
    "products",
    stream="catalog",
    says=["product.changed"],
    key="product",
    version="version",
    targets=[
        # What was bought keeps its name when the catalogue drops it.
        Target(table="gateway_product", key="id", columns={"name": "name"}, on_delete=OnDelete.KEEP, own_row=True)
    ],
)
