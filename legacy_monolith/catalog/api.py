"""The JSON API of the catalogue: products, one page or one product at a time; staff may change one."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import generics, serializers
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission, IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response

from legacy_monolith.catalog.models import Product
from migration_tools.composition.batch import BadIds, parse_ids


class ProductSerializer(serializers.ModelSerializer):
    category = serializers.CharField(source="category.name")

    class Meta:
        model = Product
        fields = ["id", "sku", "name", "price", "currency", "category", "attributes"]


class ProductList(generics.ListAPIView):
    """What is on sale, page by page; or `?ids=`, up to a hundred products, with `&on_sale=true` those on sale alone."""

    queryset = Product.objects.select_related("category").order_by("id")
    serializer_class = ProductSerializer

    def filter_queryset(self, queryset: QuerySet[Product]) -> QuerySet[Product]:
        asked = self.request.query_params.get("ids")
        if asked is None:
            return queryset.filter(active=True)
        try:
            found = queryset.filter(pk__in=parse_ids(asked, int))
            return found.filter(active=True) if self.request.query_params.get("on_sale") == "true" else found
        except BadIds as error:
            raise serializers.ValidationError({"ids": [str(error)]}) from error

    def paginate_queryset(self, queryset: Any) -> Any:
        return None if "ids" in self.request.query_params else super().paginate_queryset(queryset)


class ProductChange(serializers.ModelSerializer):
    class Meta:
        model = Product
        fields = ["name", "price", "active"]
        extra_kwargs = {"price": {"min_value": 0}}


class ProductDetail(generics.RetrieveAPIView):
    queryset = Product.objects.select_related("category")
    serializer_class = ProductSerializer

    def get_permissions(self) -> list[BasePermission]:
        return [AllowAny()] if self.request.method in SAFE_METHODS else [IsAdminUser()]

    def patch(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        product = self.get_object()
        form = ProductChange(product, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        if form.validated_data:
            for name, value in form.validated_data.items():
                setattr(product, name, value)
            product.save(update_fields=list(form.validated_data))
        return Response(ProductSerializer(product).data)
