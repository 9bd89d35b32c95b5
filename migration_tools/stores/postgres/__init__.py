"""PostgreSQL through psycopg 3: the only room that imports the driver."""

from migration_tools.stores.postgres.connection import (
    Connection,
    commit_soon,
    connect,
    describe_failure,
    django_connection,
    errors,
    is_lost,
    is_pooled,
    is_transient,
    keep_plans,
    kept_plans,
    own_session,
    refuse_pooled,
    served,
    sql,
    transaction,
)

__all__ = [
    "Connection",
    "commit_soon",
    "connect",
    "describe_failure",
    "django_connection",
    "errors",
    "is_lost",
    "is_pooled",
    "is_transient",
    "keep_plans",
    "kept_plans",
    "own_session",
    "refuse_pooled",
    "served",
    "sql",
    "transaction",
]
