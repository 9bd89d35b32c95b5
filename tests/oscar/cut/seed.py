"""A shop with a past: products, a member of the staff, and orders that customers made by oscar's own views."""

import os
import sys
from typing import Any

import django
from django.core.management import call_command

STAFF = "clerk@example.com"
PASSWORD = "a long enough phrase"


def main(orders: int) -> None:
    from django.contrib.auth import get_user_model
    from django.test.utils import setup_test_environment

    from tests.oscar.shop import Customer, stock_the_shop

    setup_test_environment()
    call_command("migrate", verbosity=0, run_syncdb=True)
    products = stock_the_shop(8)
    fill_the_catalogue(products)
    get_user_model().objects.create_superuser(STAFF, STAFF, PASSWORD)
    customer = Customer()
    for product in products:
        # Oscar counts views in a row that the first one makes; two first views at once, and one is answered with 500.
        customer.get(product.get_absolute_url())
    for number in range(orders):
        if number % 5 == 0:
            customer = Customer()
            customer.register()
        customer.buy(products[number % len(products)], quantity=1 + number % 3)


def fill_the_catalogue(products: list[Any]) -> None:
    """What a catalogue of oscar's may hold beside products: attributes, options, recommendations, a child, a review."""
    from oscar.core.loading import get_model

    def model(name: str) -> Any:
        return get_model("catalogue", name).objects

    get_model("catalogue", "Category").add_root(name="Games")
    kind = model("ProductClass").get()
    genres = model("AttributeOptionGroup").create(name="Genres")
    told = [genres.options.create(option=name) for name in ("Crime", "Höhenflug", "推理")]
    model("ProductAttribute").create(product_class=kind, name="Pages", code="pages", type="integer")
    model("ProductAttribute").create(product_class=kind, name="Weight", code="weight", type="float")
    model("ProductAttribute").create(
        product_class=kind, name="Genres", code="genres", type="multi_option", option_group=genres
    )
    kind.options.add(model("Option").create(name="Gift wrap", code="gift", type="boolean"))
    for number, product in enumerate(products):
        product.attr.pages, product.attr.weight, product.attr.genres = 100 + number, number / 7, told[: 1 + number % 3]
        product.save()
        model("ProductRecommendation").create(primary=product, recommendation=products[number - 1], ranking=number)
    products[0].product_options.add(model("Option").create(name="Engraving", code="engraving", type="text"))
    get_model("reviews", "ProductReview").objects.create(
        product=products[0], score=4, title="So so", body="Schön", name="Zoë", email="z@example.com"
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.oscar.settings")
    django.setup()
    main(int(sys.argv[1]))
