"""The users context: who the customers are. Sessions and signing stay where they are."""

from migration_tools.playbook import Playbook, Projection, Route, Unique
from playbooks.evidence import gates as gates_of


class Users(Playbook):
    """The customers' table moves, but for `last_order_id`: a note that orders can answer better, left behind."""

    context = "users"
    source = "default"
    target = "users"
    projections = [
        Projection(
            "accounts.User",
            into="people_person",
            key={"id": "id"},
            columns={
                "email": "email",
                "password_hash": "password",
                "given_name": "first_name",
                "family_name": "last_name",
                "works_here": "is_staff",
                "may_everything": "is_superuser",
                "active": "is_active",
                "last_seen_at": "last_login",
                "joined_at": "date_joined",
                "version": "version",
            },
        ),
    ]
    routes = [Route("/api/accounts/me", service="users")]
    invariants = [Unique("people_person", ["email"])]
    gates = gates_of(context)
