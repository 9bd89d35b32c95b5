"""The schema of the users service: who the customers are."""

import uuid

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


class PublicId(models.Model):
    """By which id a customer is known outside: the map from the monolith's numbers to ids that say nothing else.

    One each way, by both constraints. A trigger on `people_person` fills it, whoever inserts: the copy, the sync or a
    sign-up. A row outlives its customer's, so that who is carried out anew keeps the id, and nobody gets a used one.
    """

    person_id = models.BigIntegerField(primary_key=True)
    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)

    class Meta:
        db_table = "people_public_id"

    def __str__(self) -> str:
        return f"{self.person_id} is {self.public_id}"

    @staticmethod
    def of(person_id: int) -> uuid.UUID:
        """The id of a customer who is in `people_person`."""
        return PublicId.objects.get(pk=person_id).public_id
