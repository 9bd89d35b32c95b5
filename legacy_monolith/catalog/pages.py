"""Pages of the catalogue: the product list and the buttons that fill the cart."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from legacy_monolith.catalog.cart import Cart
from legacy_monolith.catalog.models import Product

PRODUCTS_A_PAGE = 24


@require_GET
@ensure_csrf_cookie
def products(request: HttpRequest) -> HttpResponse:
    active = Product.objects.filter(active=True).select_related("category").order_by("id")
    page = Paginator(active, PRODUCTS_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "catalog/products.html", {"page": page})


@require_POST
def change_cart(request: HttpRequest) -> HttpResponse:
    """Add or remove the product named in the form, or clear the cart."""
    cart = Cart(request)
    action, product_id = request.POST.get("action"), request.POST.get("product", "")
    if action == "clear":
        cart.clear()
        return redirect("products")
    if action not in ("add", "remove") or not product_id.isdecimal():
        return HttpResponseBadRequest("a cart knows: add or remove with a product id, and clear")
    if action == "remove":
        cart.remove(int(product_id))
        return redirect("checkout")
    cart.add(get_object_or_404(Product, pk=int(product_id), active=True).pk)
    return redirect(f"/?page={page}" if (page := request.POST.get("page", "")).isdecimal() else "/")
