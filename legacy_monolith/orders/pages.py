"""Pages of orders: they show no order themselves but fetch /api/orders/, whoever answers it.

Where orders, stock and payments have all left, and the processes of checkouts are there (settings.CHECKOUTS), a
purchase is a checkout: pending until the three agree. One that is placed as an order takes the two roads of before.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET

from legacy_monolith.catalog.cart import Cart
from migration_tools.capture.ownership import owned_here


@require_GET
@login_required
@ensure_csrf_cookie
def checkout(request: HttpRequest) -> HttpResponse:
    lines = list(Cart(request))
    return render(
        request,
        "orders/checkout.html",
        {
            "lines": lines,
            "total": sum(line.amount for line in lines),
            "cart": [{"product": line.product.pk, "quantity": line.quantity} for line in lines],
            "client_reference": f"page-{uuid.uuid4()}",
            "is_saga": settings.CHECKOUTS and not any(map(owned_here, ("orders", "inventory", "payments"))),
        },
    )


@require_GET
@login_required
@ensure_csrf_cookie
def my_orders(request: HttpRequest) -> HttpResponse:
    return render(request, "orders/my_orders.html", {"has_checkouts": not owned_here("orders")})
