"""What strangle_init wrote from oscar's models, with the addresses of oscar's pages and a demonstration's patience."""

from oscar_generated import order  # type: ignore[import-not-found]

from migration_tools.playbook import Gates, Route, seconds


class Order(order.Order):  # type: ignore[misc]
    """Whatever reads or writes orders: the checkout, the customers' orders, the staff's pages."""

    routes = [
        Route(path, service="order")
        for path in ("/checkout", "/accounts/orders", "/accounts/order-status", "/dashboard")
    ]
    gates = Gates(max_lag=seconds(2), clean_verifications=2, soak=seconds(1), quiet=seconds(5))
