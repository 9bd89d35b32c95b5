"""Settings of the orders service: its own key, its own database, nobody's sessions."""

from migration_tools import SERVICE_APPS
from migration_tools.errors import SettingsError
from migration_tools.service import environment
from migration_tools.service.environment import Environment

SERVICE = Environment(name="orders")

DEBUG = SERVICE.debug()
SECRET_KEY = SERVICE.secret_key()
ALLOWED_HOSTS = SERVICE.allowed_hosts()

ROOT_URLCONF = "extracted_services.orders.urls"
WSGI_APPLICATION = "extracted_services.orders.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "rest_framework",
    "drf_spectacular",
    *SERVICE_APPS,
    "migration_tools.projections",
    "migration_tools.sagas",
    "extracted_services.orders.apps.OrdersServiceConfig",
]
MIDDLEWARE = environment.MIDDLEWARE
DATABASES = {"default": SERVICE.database()}
REST_FRAMEWORK = environment.rest_framework()
LOGGING = environment.log_lines()

SPECTACULAR_SETTINGS = environment.spectacular(
    "Orders service",
    "Purchases and their life until shipped or cancelled.",
    ENUM_NAME_OVERRIDES={
        "OrderStatus": "extracted_services.orders.models.State.choices",
        "CheckoutStatus": "extracted_services.orders.models.CheckoutState.choices",
    },
)

# Stock and payments follow the orders' events, names and products follow what their owners say: each service reads
# the others' feeds, and hands its own to whoever needs it.
MIGRATION_TOOLS = SERVICE.migration_tools(
    feeds={
        "orders": "monolith",
        "catalog": "catalog",
        "users": "users",
        "inventory": "inventory",
        "payments": "payments",
    },
    readers=("monolith", "inventory", "payments", "gateway", "dashboard"),
)

# How a checkout is carried through: "orchestrated" (this service conducts the saga) or "choreographed" (by events).
CHECKOUT = SERVICE.get("CHECKOUT", "orchestrated")
if CHECKOUT not in ("orchestrated", "choreographed"):
    raise SettingsError(f"ORDERS_CHECKOUT is {CHECKOUT!r}; it must be 'orchestrated' or 'choreographed'")
