"""Finding products: by words, by likeness where nothing has the words, narrowed down by facets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.contrib.postgres.search import SearchQuery, SearchRank
from django.db import connection
from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When

from .models import CONFIGURATION, Product

LEAST_LIKENESS = 0.2
BANDS: Sequence[tuple[str, int, int | None]] = (
    ("under 10", 0, 10_00),
    ("10 to 50", 10_00, 50_00),
    ("50 to 200", 50_00, 200_00),
    ("200 and more", 200_00, None),
)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What somebody looks for; everything may be empty."""

    words: str = ""
    category: str = ""
    band: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Products, the best first, and how many there would be behind each choice of a facet.

    A facet's counts leave its own choice out, so that the other choices can be seen. `by_likeness` says that no
    product has the words and these only look like them.
    """

    products: QuerySet[Product]
    categories: dict[str, int]
    bands: dict[str, int]
    by_likeness: bool


def find(search: Search) -> Found:
    """Look for products on sale; costs one query a facet, one to see that the words are there, and the caller's."""
    matching = Product.objects.filter(on_sale=True)
    by_likeness = False
    ordering: tuple[object, ...] = (F("id").asc(),)
    if search.words:
        query = SearchQuery(search.words, config=CONFIGURATION, search_type="websearch")
        with_words = matching.filter(words=query)
        if with_words.exists() or not has_trigrams():
            matching = with_words.annotate(score=SearchRank(F("words"), query))
        else:
            from django.contrib.postgres.search import TrigramWordSimilarity

            by_likeness = True
            matching = matching.annotate(score=TrigramWordSimilarity(search.words, "title")).filter(
                score__gte=LEAST_LIKENESS
            )
        ordering = (F("score").desc(), F("id").asc())
    category, band = _category(search.category), _band(search.band)
    return Found(
        products=matching.filter(category & band).select_related("category").order_by(*ordering),
        categories=_counted(matching.filter(band), F("category__title")),
        bands=_in_order(_counted(matching.filter(category), _band_of())),
        by_likeness=by_likeness,
    )


def has_trigrams() -> bool:
    """Whether this database has pg_trgm; the first schema migration makes it where the role may."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'")
        return cursor.fetchone() == (1,)


def _category(title: str) -> Q:
    return Q(category__title=title) if title else Q()


def _band(name: str) -> Q:
    for label, least, most in BANDS:
        if label == name:
            return Q(price_cents__gte=least) & (Q() if most is None else Q(price_cents__lt=most))
    return Q()


def _band_of() -> Case:
    numbered = enumerate(BANDS)
    return Case(*(When(_band(label), then=Value(n)) for n, (label, _, _) in numbered), output_field=IntegerField())


def _counted(products: QuerySet[Product], by: object) -> dict[str, int]:
    rows = products.order_by().annotate(choice=by).values_list("choice").annotate(count=Count("id"))
    return dict(rows.order_by("-count", "choice"))


def _in_order(counts: Mapping[object, int]) -> dict[str, int]:
    return {label: counts.get(n, 0) for n, (label, _, _) in enumerate(BANDS)}
