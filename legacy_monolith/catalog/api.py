"""The JSON API of the catalogue: products, one page or one product at a time."""

from __future__ import annotations

from rest_framework import generics, serializers

from legacy_monolith.catalog.models import Product


class ProductSerializer(serializers.ModelSerializer):
    category = serializers.CharField(source="category.name")

    class Meta:
        model = Product
        fields = ["id", "sku", "name", "price", "currency", "category", "attributes"]


class ProductList(generics.ListAPIView):
    queryset = Product.objects.filter(active=True).select_related("category").order_by("id")
    serializer_class = ProductSerializer


class ProductDetail(generics.RetrieveAPIView):
    queryset = Product.objects.select_related("category")
    serializer_class = ProductSerializer
