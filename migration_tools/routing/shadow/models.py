"""What shadow reads came to, per route and per place in the answer, and the rules that people approved."""

from django.db import models
from django.db.models.functions import Now


class ShadowRoute(models.Model):
    """How many shadow reads of one pattern were compared, and how they ended; only ever grows.

    `late` differed at first and agreed when asked again; `dropped` found the comparator busy; `skips` counts what
    could not be compared, by reason.
    """

    context = models.CharField(max_length=63)
    pattern = models.CharField(max_length=300)
    compared = models.BigIntegerField(default=0)
    different = models.BigIntegerField(default=0)
    late = models.BigIntegerField(default=0)
    dropped = models.BigIntegerField(default=0)
    skips = models.JSONField(default=dict)
    first_seen = models.DateTimeField(db_default=Now())
    last_seen = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_shadow_route"
        constraints = [models.UniqueConstraint(fields=["context", "pattern"], name="strangle_shadow_route_once")]

    def __str__(self) -> str:
        return f"{self.context} {self.pattern}"


class ShadowDifference(models.Model):
    """How often one place of one pattern's answers differed: beyond noise, covered by a rule, or as noise only."""

    context = models.CharField(max_length=63)
    pattern = models.CharField(max_length=300)
    path = models.CharField(max_length=300)
    kind = models.CharField(max_length=20)
    count = models.BigIntegerField(default=0)
    ruled = models.BigIntegerField(default=0)
    noise = models.BigIntegerField(default=0)
    samples = models.JSONField(default=list)
    first_seen = models.DateTimeField(db_default=Now())
    last_seen = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "strangle_shadow_difference"
        constraints = [
            models.UniqueConstraint(
                fields=["context", "pattern", "path", "kind"], name="strangle_shadow_difference_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.context} {self.pattern} {self.path} {self.kind}"


class ShadowRule(models.Model):
    """What a person said about a difference: `ignore` it, or compare a list as `unordered`; or that it counts.

    An empty pattern means every pattern of the context.
    """

    context = models.CharField(max_length=63)
    pattern = models.CharField(max_length=300, default="", blank=True)
    path = models.CharField(max_length=300)
    kind = models.CharField(max_length=20)
    action = models.CharField(max_length=10)
    state = models.CharField(max_length=10, default="proposed")
    why = models.TextField(default="")
    reason = models.TextField(default="")
    actor = models.CharField(max_length=150, default="")
    created = models.DateTimeField(db_default=Now())
    decided = models.DateTimeField(null=True)

    class Meta:
        db_table = "strangle_shadow_rule"
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(
                fields=["context", "pattern", "path", "kind", "action"], name="strangle_shadow_rule_once"
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=["missing", "extra", "changed", "type_or_precision", "order"]),
                name="strangle_shadow_rule_hides_no_status",
            ),
            models.CheckConstraint(
                condition=models.Q(action__in=["ignore", "unordered"]), name="strangle_shadow_rule_action"
            ),
            models.CheckConstraint(
                condition=models.Q(state="proposed") | ~models.Q(reason=""),
                name="strangle_shadow_rule_has_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.kind} at {self.path} of {self.pattern or 'every pattern'}"
