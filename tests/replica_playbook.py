"""The shop's playbook with replicas: orders and lines for analysis in ClickHouse, orders for reading in Redis."""

from migration_tools.playbook import Replica
from playbooks.orders import Orders


class ReplicatedOrders(Orders):
    replicas = [
        Replica("sales_order", store="analytics", into="orders", as_text=["ordered_at"]),
        Replica("sales_orderitem", store="analytics", into="lines"),
        Replica(
            "sales_order", store="cache", into="order:{id}", columns=["public_id", "customer_name", "state", "remark"]
        ),
    ]
