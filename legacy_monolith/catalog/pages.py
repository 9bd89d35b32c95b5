"""Pages of the catalogue: the product list and the buttons that fill the cart."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from legacy_monolith.catalog.cart import Cart, reader
from migration_tools.seams import seam


@require_GET
@ensure_csrf_cookie
def products(request: HttpRequest) -> HttpResponse:
    page = seam("catalog", reader(request)).page(request.GET.get("page"))
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
    if not seam("catalog", reader(request)).on_sale([int(product_id)]):
        raise Http404(f"product {product_id} is not for sale")
    cart.add(int(product_id))
    return redirect(f"/?page={page}" if (page := request.POST.get("page", "")).isdecimal() else "/")
