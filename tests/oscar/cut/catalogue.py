"""What strangle_init wrote from oscar's models, with the addresses of oscar's pages and a demonstration's patience."""

from oscar_generated import catalogue  # type: ignore[import-not-found]

from migration_tools.playbook import Gates, Route, seconds


class Catalogue(catalogue.Catalogue):  # type: ignore[misc]
    """Products, their attributes and reviews, and the tree of categories; the staff's pages of them."""

    routes = [Route(path, service="catalogue") for path in ("/catalogue", "/dashboard/catalogue")]
    gates = Gates(max_lag=seconds(2), clean_verifications=2, soak=seconds(1), quiet=seconds(5))
