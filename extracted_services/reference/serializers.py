"""The shapes of the public contract."""

from typing import Any

from rest_framework import serializers


class RowSerializer(serializers.Serializer[Any]):
    """One row; besides these members it has what its kind says."""

    id = serializers.CharField()
    key = serializers.CharField()
    valid_from = serializers.DateField()


class SnapshotSerializer(serializers.Serializer[Any]):
    """All rows of a kind in one version."""

    kind = serializers.CharField()
    version = serializers.IntegerField()
    results = RowSerializer(many=True)
