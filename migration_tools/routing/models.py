"""Versions of the routing table (append-only), the pointer to the current one, the proxies applying it."""

from typing import Any

from django.db import models
from django.db.models.functions import Now

from migration_tools.errors import RoutingError
from migration_tools.routing.shadow.models import ShadowDifference, ShadowRoute, ShadowRule

__all__ = [
    "ProxyInstance",
    "ReadTraffic",
    "RoutingHead",
    "RoutingVersion",
    "ShadowDifference",
    "ShadowRoute",
    "ShadowRule",
]


class RoutingVersion(models.Model):
    """One published table: who, why and when; never changed, so the rows are the audit log."""

    document = models.JSONField()
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    author = models.CharField(max_length=150)
    reason = models.TextField()
    sha256 = models.CharField(max_length=64)
    created = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_routing_version"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"version {self.pk}: {self.reason}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise RoutingError(f"routing version {self.pk} is history; publish a new version")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise RoutingError(f"routing version {self.pk} is history; publish a new version")


class RoutingHead(models.Model):
    """The single row that says which version is current; moved by compare-and-swap only."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.ForeignKey(RoutingVersion, on_delete=models.PROTECT, related_name="+")

    class Meta:
        db_table = "strangle_routing_head"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="strangle_routing_one_head")]

    def __str__(self) -> str:
        return f"head at version {self.version_id}"


class ProxyInstance(models.Model):
    """One running proxy: which version it answers by, and which it refused and why."""

    proxy = models.CharField(max_length=100, primary_key=True)
    listen = models.CharField(max_length=100, default="")
    applied_version = models.BigIntegerField(null=True)
    rejected_version = models.BigIntegerField(null=True)
    rejected_reason = models.TextField(default="")
    note = models.TextField(default="")
    streams = models.JSONField(default=dict)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_routing_proxy"
        ordering = ("proxy",)

    def __str__(self) -> str:
        return f"proxy {self.proxy} at version {self.applied_version}"


class ReadTraffic(models.Model):
    """What one proxy's readers of a context got from a side, summed since the row was made; only ever grows.

    `latencies` counts answers by the upper bound of their time in milliseconds, as Envoy's buckets have it.
    """

    proxy = models.CharField(max_length=100)
    context = models.CharField(max_length=63)
    side = models.CharField(max_length=3)
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    latencies = models.JSONField(default=dict)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_routing_traffic"
        constraints = [
            models.UniqueConstraint(fields=["proxy", "context", "side"], name="strangle_routing_traffic_of_a_side")
        ]

    def __str__(self) -> str:
        return f"{self.context} on the {self.side} side by {self.proxy}"
