"""Pages to sign up, log in and log out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpResponse
from django.urls import reverse_lazy
from django.views.generic import FormView

from legacy_monolith.accounts.directory import Invalid, Unanswered
from legacy_monolith.accounts.registration import EmailTaken, register


class SignUpForm(forms.Form):
    first_name = forms.CharField(max_length=150)
    last_name = forms.CharField(max_length=150, required=False)
    email = forms.EmailField(max_length=254)
    password = forms.CharField(max_length=128, strip=False, widget=forms.PasswordInput)


class SignUpPage(FormView):
    template_name = "accounts/form.html"
    form_class = SignUpForm
    success_url = reverse_lazy("products")
    extra_context = {"title": "Sign up", "button": "Sign up"}

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        try:
            user = register(**form.cleaned_data)
        except EmailTaken as error:
            form.add_error("email", str(error))
            return self.form_invalid(form)
        except Invalid as error:
            for field, said in error.detail.items():
                form.add_error(field if field in form.fields else None, list(said))
            return self.form_invalid(form)
        except Unanswered as error:
            form.add_error(None, str(error.detail))
            return self.form_invalid(form)
        login(self.request, user)
        return super().form_valid(form)


class LogInPage(LoginView):
    template_name = "accounts/form.html"
    extra_context = {"title": "Log in", "button": "Log in"}

    def get_form_kwargs(self) -> dict[str, Any]:
        kwargs = super().get_form_kwargs()
        if "data" in kwargs:
            data = kwargs["data"].copy()
            data["username"] = data.get("username", "").lower()
            kwargs["data"] = data
        return kwargs


class LogOutPage(LogoutView):
    next_page = reverse_lazy("products")
