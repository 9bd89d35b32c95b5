"""The shapes of the public contract, and of what the monolith's login asks."""

from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from rest_framework import serializers

from .models import Person, PublicId

LONGEST_NAME = 150


def _name(source: str, **options: Any) -> serializers.CharField:
    return serializers.CharField(
        source=source,
        max_length=LONGEST_NAME,
        allow_blank=True,
        validators=[ProhibitNullCharactersValidator()],
        **options,
    )


class ProfileSerializer(serializers.Serializer[Person]):
    """Oneself, on both sides of the migration."""

    id = serializers.IntegerField()
    email = serializers.EmailField()
    name = serializers.CharField()
    first_name = serializers.CharField(source="given_name")
    last_name = serializers.CharField(source="family_name")


class PublicIdSerializer(serializers.Serializer[PublicId]):
    """One's number here and in the monolith, and the id to show to others."""

    id = serializers.IntegerField(source="person_id")
    public_id = serializers.UUIDField()


class NameSerializer(serializers.Serializer[Any]):
    """What one may change of oneself; what is left out stays."""

    first_name = _name("given_name", required=False)
    last_name = _name("family_name", required=False)


class CredentialsSerializer(serializers.Serializer[Any]):
    """What the monolith's login was shown."""

    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False)


class TokenSerializer(serializers.Serializer[Any]):
    """A token of an API client, as OAuth 2.0 writes such answers; `expires_in` is in seconds."""

    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField()


class SignUpSerializer(CredentialsSerializer):
    """What the monolith's sign-up was told."""

    first_name = serializers.CharField(max_length=LONGEST_NAME, allow_blank=True)
    last_name = serializers.CharField(max_length=LONGEST_NAME, allow_blank=True)


class AccountSerializer(serializers.Serializer[Person]):
    """What the monolith's sessions need to know of somebody."""

    id = serializers.IntegerField()
    email = serializers.EmailField()
    password = serializers.CharField(source="password_hash")
    first_name = serializers.CharField(source="given_name")
    last_name = serializers.CharField(source="family_name")
    is_staff = serializers.BooleanField(source="works_here")
    is_superuser = serializers.BooleanField(source="may_everything")
    is_active = serializers.BooleanField(source="active")
