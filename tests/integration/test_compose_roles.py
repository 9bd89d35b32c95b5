"""The script that makes roles and databases in the Compose file, run: PostgreSQL has what the toolkit provisions."""

import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from migration_tools.testing.postgres import EmbeddedPostgres, provision
from tests.architecture.deployed import COMPOSE, compose

#: Of the server: roles and what they are in, databases and who gets in.
OF_THE_SERVER = (
    """SELECT rolname, rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolpassword IS NOT NULL
       FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1""",
    """SELECT m.roleid::regrole::text, m.member::regrole::text, m.admin_option, m.inherit_option, m.set_option
       FROM pg_auth_members m WHERE m.member::regrole::text !~ '^pg_' ORDER BY 1, 2""",
    """SELECT datname, datdba::regrole::text, (SELECT array_agg(a ORDER BY a) FROM unnest(datacl::text[]) a)
       FROM pg_database WHERE datname IN ('shop', 'orders') ORDER BY 1""",
)
#: Of each database: whose its schema is, and what tables to come are opened for.
OF_A_DATABASE = (
    """SELECT nspname, nspowner::regrole::text, (SELECT array_agg(a ORDER BY a) FROM unnest(nspacl::text[]) a)
       FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1""",
    """SELECT defaclrole::regrole::text, defaclobjtype::text, defaclnamespace,
       (SELECT array_agg(a ORDER BY a) FROM unnest(defaclacl::text[]) a) FROM pg_default_acl ORDER BY 1, 2""",
)


def rights(server: EmbeddedPostgres) -> dict[str, list[list[tuple[Any, ...]]]]:
    """What a server's catalogs say of roles and rights."""
    found = {}
    for name, questions in {"postgres": OF_THE_SERVER, "shop": OF_A_DATABASE, "orders": OF_A_DATABASE}.items():
        with psycopg.connect(server.dsn(name)) as conn:
            found[name] = [conn.execute(question).fetchall() for question in questions]
    return found


def run(script: Path, server: EmbeddedPostgres, psql: Path) -> None:
    """Run it as PostgreSQL's image does in a new volume, but over TCP."""
    env = {
        **os.environ,
        "PATH": f"{psql}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": server.password,
        "POSTGRES_PASSWORD": server.password,
    }
    subprocess.run(["sh", str(script)], env=env, check=True, capture_output=True, timeout=60)


def test_the_roles_of_the_compose_file_are_those_that_the_toolkit_provisions() -> None:
    assert "./roles.sh:/docker-entrypoint-initdb.d/roles.sh:ro" in compose()["services"]["postgres"]["volumes"]
    with EmbeddedPostgres() as server:
        run(COMPOSE / "roles.sh", server, server._bin)
        made = rights(server)
        for role, name in (("shop_app", "shop"), ("orders_owner", "orders"), ("strangler", "shop")):
            psycopg.connect(server.dsn(name, role)).close()
    with EmbeddedPostgres() as server:
        provision(server)
        assert made == rights(server)
