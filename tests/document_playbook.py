"""The shop's playbook with one replica: orders as documents in MongoDB."""

from migration_tools.playbook import Replica
from playbooks.orders import Orders


class DocumentedOrders(Orders):
    replicas = [Replica("sales_order", store="documents", into="orders")]
