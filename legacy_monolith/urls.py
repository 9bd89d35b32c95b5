"""Every address of the monolith: JSON API, pages, and the toolkit's own."""

from django.conf import settings
from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from legacy_monolith import health
from legacy_monolith.accounts import api as accounts_api
from legacy_monolith.accounts import pages as accounts_pages
from legacy_monolith.catalog import api as catalog_api
from legacy_monolith.catalog import pages as catalog_pages
from legacy_monolith.inventory import api as inventory_api
from legacy_monolith.orders import api as orders_api
from legacy_monolith.orders import pages as orders_pages
from legacy_monolith.orders import transitions
from legacy_monolith.payments import api as payments_api
from legacy_monolith.reporting import api as reporting_api

api = [
    path("csrf/", health.csrf),
    path("accounts/signup/", accounts_api.SignUp.as_view()),
    path("accounts/login/", accounts_api.LogIn.as_view()),
    path("accounts/logout/", accounts_api.LogOut.as_view()),
    path("accounts/me/", accounts_api.Me.as_view()),
    path("products/", catalog_api.ProductList.as_view()),
    path("products/<int:pk>/", catalog_api.ProductDetail.as_view()),
    path("stock/<int:product>/", inventory_api.OnHand.as_view()),
    path("stock/<int:product>/deliveries/", inventory_api.Deliveries.as_view()),
    path("payments/", payments_api.PaymentList.as_view()),
    path("orders/", orders_api.OrderList.as_view()),
    path("orders/products/", orders_api.OrderedProducts.as_view()),
    path("orders/<uuid:public_id>/", orders_api.OrderDetail.as_view()),
    path("orders/<uuid:public_id>/pay/", orders_api.OrderTransition.as_view(move=transitions.pay)),
    path("orders/<uuid:public_id>/ship/", orders_api.OrderTransition.as_view(move=transitions.ship)),
    path("orders/<uuid:public_id>/cancel/", orders_api.OrderTransition.as_view(move=transitions.cancel)),
    path("reports/sales-by-category/", reporting_api.SalesByCategory.as_view()),
    path("reports/top-customers/", reporting_api.TopCustomers.as_view()),
]

urlpatterns = [
    path("", catalog_pages.products, name="products"),
    path("cart/", catalog_pages.change_cart, name="cart"),
    path("signup/", accounts_pages.SignUpPage.as_view(), name="signup"),
    path("login/", accounts_pages.LogInPage.as_view(), name="login"),
    path("logout/", accounts_pages.LogOutPage.as_view(), name="logout"),
    path("checkout/", orders_pages.checkout, name="checkout"),
    path("orders/", orders_pages.my_orders, name="orders"),
    path("api/", include(api)),
    path("strangle/", include("migration_tools.urls")),
    path("admin/", admin.site.urls),
    path("livez", health.livez),
    path("readyz", health.readyz),
]
if settings.DEBUG:
    urlpatterns += staticfiles_urlpatterns()

handler404 = "legacy_monolith.problems.not_found"
handler500 = "legacy_monolith.problems.server_error"
