"""The shop's accounts over HTTP: sign up, log in, log out, read and change one's own name."""

import pytest

from legacy_monolith.accounts.models import User
from legacy_monolith.testing import Shopper

pytestmark = pytest.mark.django_db

NEW = {"email": "Grace@Example.com", "password": "long enough", "first_name": "Grace", "last_name": "Hopper"}


def test_signing_up_makes_a_customer_and_logs_in() -> None:
    shopper = Shopper()
    answer = shopper.call("POST", "/api/accounts/signup/", NEW)
    assert answer.status_code == 201
    user = User.objects.get()
    assert answer.json() == {"id": user.pk, "email": "grace@example.com", "name": "Grace Hopper"}
    assert shopper.get("/api/accounts/me/").json() == {
        "id": user.pk,
        "email": "grace@example.com",
        "name": "Grace Hopper",
        "first_name": "Grace",
        "last_name": "Hopper",
    }


def test_an_email_address_signs_up_once_whatever_its_case() -> None:
    Shopper().call("POST", "/api/accounts/signup/", NEW)
    answer = Shopper().call("POST", "/api/accounts/signup/", NEW | {"email": "grace@example.COM"})
    assert answer.status_code == 400
    assert answer["content-type"] == "application/problem+json"
    assert "email" in answer.json()["errors"]
    assert User.objects.count() == 1


def test_logging_in_needs_the_right_password_and_logging_out_ends_the_session() -> None:
    Shopper().call("POST", "/api/accounts/signup/", NEW)
    shopper = Shopper()
    wrong = shopper.call("POST", "/api/accounts/login/", {"email": NEW["email"], "password": "wrong"})
    assert wrong.status_code == 400
    right = shopper.call("POST", "/api/accounts/login/", {"email": NEW["email"], "password": NEW["password"]})
    assert right.status_code == 200
    assert right.json()["name"] == "Grace Hopper"
    assert shopper.call("POST", "/api/accounts/logout/").status_code == 204
    assert shopper.get("/api/accounts/me/").status_code == 403


def test_a_customer_changes_one_name_and_keeps_the_other() -> None:
    shopper = Shopper().sign_up("Ada", "Lovelace")
    answer = shopper.call("PATCH", "/api/accounts/me/", {"last_name": "Ķing 🦊"})
    assert answer.status_code == 200
    assert answer.json()["name"] == "Ada Ķing 🦊"
    assert User.objects.get(pk=shopper.id).first_name == "Ada"


def test_no_space_is_stripped_from_a_name_since_sql_would_keep_it() -> None:
    shopper = Shopper().sign_up("", "Solo")
    assert shopper.get("/api/accounts/me/").json()["name"] == " Solo"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {**NEW, "email": "no address"},
        {**NEW, "password": ""},
        {**NEW, "first_name": "nul \0"},
        {**NEW, "first_name": "x" * 151},
        [1],
    ],
)
def test_a_bad_sign_up_is_a_problem_document(body: object) -> None:
    answer = Shopper().call("POST", "/api/accounts/signup/", body)
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["type"] == "about:blank"
    assert problem["title"] == "Bad Request"
    assert problem["status"] == 400
    assert not User.objects.exists()


@pytest.mark.parametrize("path", ["/api/accounts/signup/", "/api/accounts/login/", "/api/accounts/logout/"])
def test_a_visitor_without_the_csrf_token_is_refused(path: str) -> None:
    shopper = Shopper()
    answer = shopper.client.post(path, NEW, content_type="application/json")
    assert answer.status_code == 403
    assert answer["content-type"] == "application/problem+json"
    assert "CSRF" in answer.json()["detail"]
    assert not User.objects.exists()


def test_the_csrf_address_sets_the_cookie_and_nothing_else() -> None:
    shopper = Shopper()
    answer = shopper.get("/api/csrf/")
    assert (answer.status_code, answer.content) == (204, b"")
    assert len(shopper.client.cookies["csrftoken"].value) == 32
