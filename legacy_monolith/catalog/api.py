"""The JSON API of the catalogue: products, one page or one product at a time."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import generics, serializers

from legacy_monolith.catalog.models import Product
from migration_tools.composition.batch import BadIds, parse_ids


class ProductSerializer(serializers.ModelSerializer):
    category = serializers.CharField(source="category.name")

    class Meta:
        model = Product
        fields = ["id", "sku", "name", "price", "currency", "category", "attributes"]


class ProductList(generics.ListAPIView):
    """What is on sale, page by page; or `?ids=`, up to a hundred products on sale or not, in one answer."""

    queryset = Product.objects.select_related("category").order_by("id")
    serializer_class = ProductSerializer

    def filter_queryset(self, queryset: QuerySet[Product]) -> QuerySet[Product]:
        asked = self.request.query_params.get("ids")
        if asked is None:
            return queryset.filter(active=True)
        try:
            return queryset.filter(pk__in=parse_ids(asked, int))
        except BadIds as error:
            raise serializers.ValidationError({"ids": [str(error)]}) from error

    def paginate_queryset(self, queryset: Any) -> Any:
        return None if "ids" in self.request.query_params else super().paginate_queryset(queryset)


class ProductDetail(generics.RetrieveAPIView):
    queryset = Product.objects.select_related("category")
    serializer_class = ProductSerializer
