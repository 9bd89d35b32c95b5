"""Do each transaction that oscar's code declares, under the tracer; say what contexts each wrote, and draft sagas."""

import ast
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

ATOMIC = "atomic"


def declared() -> list[str]:
    """Each function of oscar's apps that opens a transaction by `atomic`, as module.Class.function, by its source."""
    found: list[str] = []
    spec = find_spec("oscar.apps")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted(root.rglob("*.py")):
        if "migrations" not in path.parts:
            module = ".".join(("oscar", "apps", *path.relative_to(root).with_suffix("").parts))
            found += _openers(ast.parse(path.read_text()), module)
    return found


def _openers(node: ast.AST, name: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _openers(child, f"{name}.{child.name}")
        elif isinstance(child, ast.FunctionDef):
            withs = (each for each in ast.walk(child) if isinstance(each, ast.With))
            openings = [*child.decorator_list, *(item.context_expr for each in withs for item in each.items)]
            if any(ATOMIC in (getattr(each, "attr", ""), getattr(each, "id", "")) for each in _names(openings)):
                yield f"{name}.{child.name}"


def _names(openings: list[ast.expr]) -> Iterator[ast.expr]:
    for each in openings:
        yield each.func if isinstance(each, ast.Call) else each


def work(directory: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each of them, with a way to do it as oscar does, on rows made before."""
    from django.contrib.auth import get_user_model
    from django.contrib.messages.storage.cookie import CookieStorage
    from django.test import Client, RequestFactory
    from django.utils import timezone
    from oscar.core.loading import get_class, get_model
    from PIL import Image

    from tests.oscar.shop import Customer, stock_the_shop

    products = stock_the_shop()
    customer = Customer()
    customer.register()
    customer.buy(products[0], quantity=2)
    line = get_model("order", "Line").objects.get()
    user = get_user_model().objects.get(email=customer.email)
    users: Any = get_user_model().objects
    staff = users.create_superuser("staff", "staff@example.com", "a long enough phrase")
    request = RequestFactory().post("/")
    request.user = staff
    request._messages = CookieStorage(request)  # type: ignore[attr-defined]
    catalogue = get_model("catalogue", "Product").objects.filter(upc__startswith="upc")

    yield "oscar.apps.order.abstract_models.AbstractLine.consume_allocation", lambda: line.consume_allocation(1)
    yield "oscar.apps.order.abstract_models.AbstractLine.cancel_allocation", lambda: line.cancel_allocation(1)

    basket = get_model("basket", "Basket").objects.create(owner=user)
    basket.strategy = get_class("partner.strategy", "Selector")().strategy()
    basket.add_product(products[1], 1)
    method = get_class("shipping.methods", "Free")()
    charge = method.calculate(basket)
    total = get_class("checkout.calculators", "OrderTotalCalculator")().calculate(basket, charge)
    creator = get_class("order.utils", "OrderCreator")()
    yield (
        "oscar.apps.order.utils.OrderCreator.place_order",
        lambda: creator.place_order(basket, total, method, charge, user=user),
    )

    rows = directory / "catalogue.csv"
    rows.write_text("Book,Books > Novels,upc9,Ninth,About it,Retail,sku9,9.99,10\n")
    importer = get_class("partner.importers", "CatalogueImporter")(logging.getLogger("oscar"))
    yield "oscar.apps.partner.importers.CatalogueImporter._import", lambda: importer.handle(str(rows))

    images = directory / "images"
    images.mkdir()
    Image.new("RGB", (1, 1)).save(images / "upc0.png")
    pictures = get_class("catalogue.utils", "Importer")(logging.getLogger("oscar"), "upc")
    yield "oscar.apps.catalogue.utils.Importer.handle", lambda: pictures.handle(str(images))

    wares = get_model("offer", "Range").objects.create(name="All", includes_all_products=True)
    offer = get_model("offer", "ConditionalOffer").objects.create(
        name="Tenth",
        offer_type="Voucher",
        condition=get_model("offer", "Condition").objects.create(range=wares, type="Count", value=1),
        benefit=get_model("offer", "Benefit").objects.create(range=wares, type="Percentage", value=10),
    )
    now = timezone.now()
    about = {
        "start_datetime": now.strftime("%Y-%m-%d %H:%M"),
        "end_datetime": (now + timedelta(days=9)).strftime("%Y-%m-%d %H:%M"),
        "usage": "Multi-use",
        "offers": [offer.pk],
    }
    many = get_class("dashboard.vouchers.forms", "VoucherSetForm")(
        {**about, "name": "Set", "code_length": 9, "description": "Some", "count": 2}
    )
    assert many.is_valid(), many.errors
    yield "oscar.apps.dashboard.vouchers.forms.VoucherSetForm.save", many.save

    client = Client()
    client.force_login(staff)

    def post(path: str, **fields: Any) -> None:
        answer = client.post(f"/dashboard/vouchers/{path}", fields)
        assert answer.status_code == 302, answer.content.decode()[:3000]

    views = "oscar.apps.dashboard.vouchers.views"
    yield f"{views}.VoucherCreateView.form_valid", lambda: post("create/", **about, name="One", code="ONE")
    one = get_model("voucher", "Voucher").objects.get(code="ONE")
    changed = f"update/{one.pk}/"
    yield f"{views}.VoucherUpdateView.form_valid", lambda: post(changed, **about, name="Other", code="ONE")
    yield f"{views}.VoucherDeleteView.delete", lambda: post(f"delete/{one.pk}/")

    actions = "oscar.apps.dashboard.catalogue.bulk_actions"

    def act(name: str, *further: Any) -> None:
        get_class("dashboard.catalogue.bulk_actions", name)().execute(request, catalogue, *further)

    status = type("MakePublic", (get_class("dashboard.catalogue.bulk_actions", "BaseSetPublicStatusAction"),), {
        "is_public": True,
    })  # fmt: skip
    yield f"{actions}.BaseSetPublicStatusAction.execute", lambda: status().execute(request, catalogue)
    yield f"{actions}.BaseSetProductsPublicStatusAction.execute", lambda: act("MakeProductsPublicAction", None)
    keys = [product.pk for product in products]
    partners = list(get_model("partner", "Partner").objects.filter(name="Wholesale").values_list("pk", flat=True))
    prices = get_class("dashboard.catalogue.forms", "SetProductPriceForm")(
        {"selected_products": keys, "partners": partners, "new_price": "7.00"}, products_queryset=catalogue, user=staff
    )
    assert prices.is_valid(), prices.errors
    yield f"{actions}.SetProductPriceAction.execute", lambda: act("SetProductPriceAction", prices)


def main(directory: Path) -> dict[str, Any]:
    """What each declared transaction wrote, by contexts; the sites that the drafts know, and the mistakes of these."""
    from django.conf import settings
    from django.test.utils import setup_test_environment

    from migration_tools.analysis.context_file import load_contexts
    from migration_tools.analysis.observation import Observation, Observer, Unit
    from migration_tools.analysis.trace import Trace
    from migration_tools.management.saga_drafts import draft_result
    from migration_tools.sagas import registry
    from migration_tools.sagas.validation import find_mistakes

    settings.MEDIA_ROOT = directory / "media"
    setup_test_environment()
    call_command("migrate", verbosity=0)
    trace = Trace(load_contexts())
    units: list[Unit] = []

    def note(seen: Observation) -> None:
        units.append(seen.unit)

    observer = Observer(trace.contexts, [trace, note])
    wrote: dict[str, list[str]] = {}
    for name, do in work(directory):
        units.clear()
        observer.install()
        do()
        observer.uninstall()
        # What follows the transaction, such as statistics, is none of it.
        together = [sorted(each for each in unit.writes if not trace.contexts.is_framework(each)) for unit in units]
        wrote[name] = max(together, key=len)
    trace.save(directory / "trace.json")
    result = draft_result([directory / "trace.json"])
    exec(compile("\n".join(result["lines"]), "drafts", "exec"), {"__name__": "drafts"})  # noqa: S102
    drafts = list(registry.declared())
    return {
        "declared": declared(),
        "wrote": wrote,
        "sites": {each["function"]: each["contexts"] for each in result["sites"]},
        "drafts": {saga.name: [step.name for step in saga.steps] for saga in drafts},
        "mistakes": [str(each) for saga in drafts for each in find_mistakes(saga)],
    }


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.oscar.settings")
    django.setup()
    print(json.dumps(main(Path(sys.argv[1]))))
