"""The schema of the users service: who the customers are."""

from django.db import models


class Person(models.Model):
    """A customer, or somebody who works here."""

    email = models.EmailField(max_length=254, unique=True)
    # As Django's hashers write it; nobody but this service and the monolith's login ever sees it.
    password_hash = models.CharField(max_length=128)
    given_name = models.TextField()
    family_name = models.TextField()
    works_here = models.BooleanField(default=False)
    may_everything = models.BooleanField(default=False)
    active = models.BooleanField(default=True)
    last_seen_at = models.DateTimeField(null=True)
    joined_at = models.DateTimeField()
    # Of what events tell; counted under the row's lock by whoever owns the customers, the monolith or this service.
    version = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "people_person"

    def __str__(self) -> str:
        return self.email

    @property
    def name(self) -> str:
        """Both names, joined as SQL would: no outer space is stripped."""
        return f"{self.given_name} {self.family_name}"
