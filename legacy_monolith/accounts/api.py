"""The JSON API of accounts: sign up, log in and out, read and change one's own name."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import authenticate, login, logout
from rest_framework import serializers, status
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from legacy_monolith.accounts.models import User
from legacy_monolith.accounts.registration import EmailTaken, register


class CredentialsSerializer(serializers.Serializer):
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False)


class NameSerializer(serializers.Serializer):
    first_name = serializers.CharField(max_length=150, allow_blank=True)
    last_name = serializers.CharField(max_length=150, allow_blank=True)


class SignUpSerializer(CredentialsSerializer, NameSerializer):
    pass


class SignUp(APIView):
    def post(self, request: Request) -> Response:
        form = SignUpSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            user = register(**form.validated_data)
        except EmailTaken as error:
            raise serializers.ValidationError({"email": [str(error)]}) from error
        login(request._request, user)
        return Response(_greeting(user), status=status.HTTP_201_CREATED)


class LogIn(APIView):
    def post(self, request: Request) -> Response:
        form = CredentialsSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        email, password = form.validated_data["email"].lower(), form.validated_data["password"]
        user = authenticate(request._request, username=email, password=password)
        if not isinstance(user, User):
            raise serializers.ValidationError({"password": ["no customer has this e-mail and password"]})
        login(request._request, user)
        return Response(_greeting(user))


class LogOut(APIView):
    def post(self, request: Request) -> Response:
        logout(request._request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Me(APIView):
    permission_classes = [IsAuthenticated]

    def get(self, request: Request) -> Response:
        return Response(_profile(request.user))

    def patch(self, request: Request) -> Response:
        form = NameSerializer(data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        if form.validated_data:
            for field, value in form.validated_data.items():
                setattr(request.user, field, value)
            request.user.save(update_fields=list(form.validated_data))
        return Response(_profile(request.user))


def _greeting(user: User) -> dict[str, Any]:
    return {"id": user.pk, "email": user.email, "name": user.name}


def _profile(user: User) -> dict[str, Any]:
    return _greeting(user) | {"first_name": user.first_name, "last_name": user.last_name}
