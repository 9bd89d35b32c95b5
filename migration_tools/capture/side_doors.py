"""Ways by which a database is read or written past the service that owns it: subscriptions, foreign servers, dblink."""

from migration_tools.stores.postgres import Connection

_FOUND = """
    SELECT format('subscription %I copies tables of another database here', subname)
    FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT format('foreign server %I (%s, %s foreign tables) reads another database', s.srvname, w.fdwname,
                  (SELECT count(*) FROM pg_foreign_table t WHERE t.ftserver = s.oid))
    FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE w.fdwname <> 'file_fdw'
    UNION ALL
    SELECT format('dblink is installed in schema %I: any query may reach into another database', n.nspname)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = 'dblink'
    GROUP BY n.nspname
    ORDER BY 1"""


def side_doors(conn: Connection) -> list[str]:
    """What ties this database to another one beside events and APIs; nothing in it is an error by itself."""
    return [str(row[0]) for row in conn.execute(_FOUND)]
