"""The domain logic of users: sign up, check a password, change a name."""

from typing import Any

from django.contrib.auth.hashers import check_password, make_password
from django.db import IntegrityError, transaction
from django.utils import timezone

from . import events
from .models import Person


class EmailTaken(Exception):
    """Somebody signed up with this e-mail address before."""

    def __init__(self, email: str) -> None:
        super().__init__(f"the e-mail address {email!r} is taken; log in or use another one")


def register(*, email: str, password: str, first_name: str, last_name: str) -> Person:
    """Make a customer and publish `user.registered` and `user.known`, in a transaction of its own.

    Raises:
        EmailTaken: also when two visitors ask for the same address at the same moment.
    """
    now = timezone.now()
    try:
        with transaction.atomic():
            person = Person.objects.create(
                email=email.lower(),
                password_hash=make_password(password),
                given_name=first_name,
                family_name=last_name,
                last_seen_at=now,
                joined_at=now,
                version=1,
            )
            events.user_registered(person)
            events.user_known(person)
            return person
    except IntegrityError as error:
        if not Person.objects.filter(email=email.lower()).exists():
            raise
        raise EmailTaken(email) from error


def recognise(email: str, password: str) -> Person | None:
    """Whose e-mail address and password these are; a stranger costs as much time as a wrong password."""
    person = Person.objects.filter(email=email.lower(), active=True).first()
    if person is None:
        make_password(password)
        return None
    if not check_password(password, person.password_hash):
        return None
    Person.objects.filter(pk=person.pk).update(last_seen_at=timezone.now())
    return person


def rename(person_id: int, changes: dict[str, Any]) -> Person:
    """Change a name and publish `user.renamed`, in one transaction; nothing to change publishes nothing.

    Raises:
        Person.DoesNotExist: there is nobody of this number.
    """
    with transaction.atomic():
        person = Person.objects.select_for_update(no_key=True).get(pk=person_id)
        differing = [name for name, value in changes.items() if getattr(person, name) != value]
        if differing:
            for name in differing:
                setattr(person, name, changes[name])
            person.version += 1
            person.save(update_fields=[*differing, "version"])
            events.user_renamed(person)
    return person
