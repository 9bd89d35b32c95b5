"""What the gateway keeps of users, products and orders, so that it can answer while these services are away."""

from django.db import models


class KnownUser(models.Model):
    """A user who exists; a copy of the users service's."""

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField(null=True)

    class Meta:
        db_table = "gateway_user"

    def __str__(self) -> str:
        return str(self.name)


class KnownProduct(models.Model):
    """A product; a copy of the catalogue's."""

    id = models.BigIntegerField(primary_key=True)
    name = models.TextField(null=True)

    class Meta:
        db_table = "gateway_product"

    def __str__(self) -> str:
        return str(self.name)


class OrderedLine(models.Model):
    """How much of a product one order had, by `order.placed`."""

    pk = models.CompositePrimaryKey("order", "product")
    order = models.UUIDField()
    product = models.BigIntegerField()
    user = models.BigIntegerField()
    quantity = models.BigIntegerField()
    placed_at = models.DateTimeField()

    class Meta:
        db_table = "gateway_orderedline"
        indexes = [models.Index(fields=["user", "product"], name="gateway_orderedline_user")]
