"""The read models: a customer's orders, an order's summary, its details, what happened, and what was paid."""

from collections.abc import Iterable
from typing import Any

from migration_tools.messaging.envelope import Envelope
from migration_tools.projections import (
    Change,
    Copied,
    Counted,
    Gathered,
    Gone,
    Largest,
    Latest,
    Put,
    ReadModel,
    Reference,
    Steps,
    Summed,
    Table,
    on,
)

# One consumer per stream serves them all.
GROUP = "dashboard"
NOBODY = "deleted customer"

STATUS = Steps("placed", "paid", "shipped", "cancelled")
CUSTOMER = {"name": Latest("text")}


def customers(name: str) -> Table:
    """What a read model knows of customers, to copy it into its rows."""
    return Table(name=name, key={"customer_id": "bigint"}, source="users", columns=CUSTOMER, private=True)


def erased(to: str) -> Reference:
    """When a customer is deleted their rows stay, without the name."""
    return Reference(to=to, on_gone="anonymise", anonymous={"customer_name": NOBODY})


def order_key(event: Envelope) -> dict[str, Any]:
    """An order by the id that the world knows."""
    return {"order_id": event.payload["public_id"]}


class OfCustomers(ReadModel):
    """One that shows customers' names, in its table `names` or copied from there."""

    names = ""

    @on("user.registered", stream="users")
    @on("user.renamed", stream="users")
    def called(self, event: Envelope) -> Iterable[Change]:
        return [Put(self.names, {"customer_id": event.payload["user_id"]}, {"name": event.payload["name"]})]

    @on("user.deleted", stream="users")
    def deleted(self, event: Envelope) -> Iterable[Change]:
        return [Gone(self.names, {"customer_id": event.payload["user_id"]})]


class OrderSummary(OfCustomers):
    """One row an order, as it stands in a list."""

    name = "order_summary"
    group = GROUP
    names = "order_summary_customer"
    tables = (
        customers("order_summary_customer"),
        Table(
            name="order_summary",
            key={"order_id": "uuid"},
            source="orders",
            columns={
                "customer_id": Latest("bigint"),
                "customer_name": Copied("customer_id", "name", default=""),
                "order_date": Latest("timestamptz"),
                "total_amount": Latest("numeric"),
                "currency": Latest("text"),
                "status": STATUS,
                "items_count": Latest("integer"),
                "last_updated": Largest("timestamptz"),
            },
            references={"customer_id": erased("order_summary_customer")},
            indexes=(("customer_id", "-order_date"),),
        ),
    )

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Iterable[Change]:
        said = event.payload
        values = {
            "customer_id": said["user_id"],
            "order_date": event.timestamp,
            "total_amount": said["total"],
            "currency": said["currency"],
            "items_count": sum(line["quantity"] for line in said["lines"]),
            "status": "placed",
            "last_updated": event.timestamp,
        }
        return [Put("order_summary", order_key(event), values)]

    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    @on("order.cancelled", stream="orders")
    def moved(self, event: Envelope) -> Iterable[Change]:
        status = event.event_type.removeprefix("order.")
        return [Put("order_summary", order_key(event), {"status": status, "last_updated": event.timestamp})]


class OrderDetails(OfCustomers):
    """One row an order with its customer and its items as a document: three sources, whichever speaks first."""

    name = "order_details"
    group = GROUP
    names = "order_details_customer"
    tables = (
        customers("order_details_customer"),
        Table(
            name="order_details_product",
            key={"product_id": "bigint"},
            source="catalog",
            columns={"name": Latest("text"), "sku": Latest("text")},
            private=True,
        ),
        Table(
            name="order_details_item",
            key={"order_id": "uuid", "number": "integer"},
            source="orders",
            columns={
                "product": Latest("bigint"),
                "name": Copied("product", "name", default=""),
                "sku": Copied("product", "sku", default=""),
                "quantity": Latest("integer"),
            },
            references={"product": Reference(to="order_details_product", on_gone="keep")},
            private=True,
        ),
        Table(
            name="order_details_view",
            key={"order_id": "uuid"},
            source="orders",
            columns={
                "customer_id": Latest("bigint"),
                "customer_name": Copied("customer_id", "name", default=""),
                "items": Gathered("order_details_item", "order_id", ("product", "sku", "name", "quantity")),
                "order_total": Latest("numeric"),
                "currency": Latest("text"),
                "order_status": STATUS,
            },
            references={"customer_id": erased("order_details_customer")},
        ),
    )

    @on("product.changed", stream="catalog")
    def product_changed(self, event: Envelope) -> Iterable[Change]:
        said = event.payload
        return [
            Put("order_details_product", {"product_id": said["product"]}, {"name": said["name"], "sku": said["sku"]})
        ]

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Iterable[Change]:
        said = event.payload
        values = {
            "customer_id": said["user_id"],
            "order_total": said["total"],
            "currency": said["currency"],
            "order_status": "placed",
        }
        yield Put("order_details_view", order_key(event), values)
        for number, line in enumerate(said["lines"], 1):
            key = {**order_key(event), "number": number}
            yield Put("order_details_item", key, {"product": line["product"], "quantity": line["quantity"]})

    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    @on("order.cancelled", stream="orders")
    def moved(self, event: Envelope) -> Iterable[Change]:
        return [Put("order_details_view", order_key(event), {"order_status": event.event_type.removeprefix("order.")})]


class UserOrders(OfCustomers):
    """One row a customer: their name, how many orders, for how much, and the orders themselves."""

    name = "user_orders"
    group = GROUP
    names = "user_orders_view"
    tables = (
        Table(
            name="user_orders_order",
            key={"order_id": "uuid"},
            source="orders",
            columns={
                "customer_id": Latest("bigint"),
                "placed_at": Latest("timestamptz"),
                "total": Latest("numeric"),
                "currency": Latest("text"),
                "status": STATUS,
            },
            private=True,
        ),
        Table(
            name="user_orders_view",
            key={"customer_id": "bigint"},
            source="orders",
            columns={
                "name": Latest("text", source="users"),
                "orders_count": Counted("user_orders_order", "customer_id"),
                "orders_total": Summed("user_orders_order", "customer_id", "total"),
                "orders": Gathered(
                    "user_orders_order", "customer_id", ("order_id", "placed_at", "total", "currency", "status")
                ),
            },
        ),
    )

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Iterable[Change]:
        said = event.payload
        values = {
            "customer_id": said["user_id"],
            "placed_at": event.timestamp,
            "total": said["total"],
            "currency": said["currency"],
            "status": "placed",
        }
        return [
            Put("user_orders_order", order_key(event), values),
            Put("user_orders_view", {"customer_id": said["user_id"]}),
        ]

    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    @on("order.cancelled", stream="orders")
    def moved(self, event: Envelope) -> Iterable[Change]:
        return [Put("user_orders_order", order_key(event), {"status": event.event_type.removeprefix("order.")})]


class Feed(OfCustomers):
    """One row an event of an order: who did what, and when. It shows a second kind of view of the same events."""

    name = "feed"
    group = GROUP
    names = "feed_customer"
    tables = (
        customers("feed_customer"),
        Table(
            name="feed_order",
            key={"order_id": "uuid"},
            source="orders",
            columns={"customer_id": Latest("bigint"), "customer_name": Copied("customer_id", "name", default="")},
            references={"customer_id": erased("feed_customer")},
            private=True,
        ),
        Table(
            name="feed",
            key={"event_id": "uuid"},
            source="orders",
            columns={
                "order_id": Latest("uuid"),
                "what": Latest("text"),
                "at": Latest("timestamptz"),
                "customer_id": Copied("order_id", "customer_id"),
                "customer_name": Copied("order_id", "customer_name", default=""),
            },
            references={"order_id": Reference(to="feed_order")},
            indexes=(("-at",), ("customer_id", "-at")),
        ),
    )

    @on("order.placed", stream="orders")
    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    @on("order.cancelled", stream="orders")
    def happened(self, event: Envelope) -> Iterable[Change]:
        if event.event_type == "order.placed":
            yield Put("feed_order", order_key(event), {"customer_id": event.payload["user_id"]})
        what = event.event_type.removeprefix("order.")
        values = {**order_key(event), "what": what, "at": event.timestamp}
        yield Put("feed", {"event_id": event.event_id}, values)


class Statement(ReadModel):
    """One row a payer: what was taken of them and not given back, and the entries that it is the sum of."""

    name = "statement"
    group = GROUP
    tables = (
        Table(
            name="statement_entry",
            key={"account": "uuid", "number": "bigint"},
            source="payments",
            columns={
                "customer_id": Latest("bigint"),
                "what": Latest("text"),
                "order_number": Latest("bigint"),
                "amount": Latest("numeric"),
            },
            private=True,
        ),
        Table(
            name="statement",
            key={"customer_id": "bigint"},
            source="payments",
            columns={
                "balance": Summed("statement_entry", "customer_id", "amount"),
                "entries": Gathered("statement_entry", "customer_id", ("number", "what", "order_number", "amount")),
            },
        ),
    )

    @on("payer_account.captured", stream="payments")
    @on("payer_account.refunded", stream="payments")
    @on("payer_account.carried", stream="payments")
    def entered(self, event: Envelope) -> Iterable[Change]:
        said, what = event.payload, event.event_type.removeprefix("payer_account.")
        if said["payer"] is None:
            return []
        sign = "-" if what == "refunded" else ""
        amount, payer = f"{sign}{said['amount']}", {"customer_id": said["payer"]}
        key = {"account": said["aggregate_id"], "number": said["aggregate_version"]}
        values = {**payer, "what": what, "order_number": said.get("order"), "amount": amount}
        return [Put("statement_entry", key, values), Put("statement", payer)]


class OrderStatus(ReadModel):
    """How far one order is: a document in Redis, for pages that ask while somebody waits; without a Redis, no group."""

    name = "order_status"
    group = "status"
    store = "statuses"
    tables = (
        Table(
            name="order_status",
            key={"order_id": "uuid"},
            source="orders",
            columns={"customer_id": Latest("bigint"), "status": STATUS, "last_updated": Largest("timestamptz")},
        ),
    )

    @on("order.placed", stream="orders")
    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    @on("order.cancelled", stream="orders")
    def moved(self, event: Envelope) -> Iterable[Change]:
        values = {"status": event.event_type.removeprefix("order."), "last_updated": event.timestamp}
        if event.event_type == "order.placed":
            values["customer_id"] = event.payload["user_id"]
        return [Put("order_status", order_key(event), values)]
