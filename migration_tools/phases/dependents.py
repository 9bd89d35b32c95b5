"""Who would miss the old tables though nobody asks them now: views, functions, references, publications."""

from migration_tools.stores.postgres import Connection

# What is a table's own (its indexes, defaults, triggers, policies) goes with it, whatever else of it it looks at.
_DEPENDENTS = """
    WITH old AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p'))
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0), o.relname::text
    FROM pg_depend d JOIN pg_class o ON o.oid = d.refobjid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM old) AND d.deptype = 'n'
      AND d.classid <> 'pg_publication_rel'::regclass
      AND NOT EXISTS (SELECT FROM pg_depend own WHERE own.classid = d.classid AND own.objid = d.objid
                        AND own.refclassid = 'pg_class'::regclass AND own.refobjid IN (SELECT oid FROM old)
                        AND own.deptype IN ('a', 'i'))
  UNION
    SELECT 'publication ' || p.pubname, o.relname::text
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class o ON o.oid = r.prrelid
    WHERE o.oid IN (SELECT oid FROM old)
    ORDER BY 2, 1"""
_GRANTS = """
    SELECT c.relname::text, pg_get_userbyid(c.relowner)::text, COALESCE(r.rolname::text, 'public'),
           array_agg(g.privilege_type::text ORDER BY g.privilege_type)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) g
    LEFT JOIN pg_roles r ON r.oid = g.grantee
    WHERE n.nspname = %s AND c.relkind IN ('r', 'p') GROUP BY 1, 2, 3 ORDER BY 1, 3"""


def dependents(conn: Connection, schema: str) -> list[str]:
    """Each object that reads a table of the schema when it is used, or hands its rows on, in a sentence."""
    rows = conn.execute(_DEPENDENTS, {"schema": schema}).fetchall()
    return [f"{name} uses table {table!r}; drop it, or build it on what the service publishes" for name, table in rows]


def grants(conn: Connection, schema: str) -> list[dict[str, object]]:
    """Who may do what with the tables of a schema beside their owners; it goes with the tables."""
    return [
        {"table": table, "role": role, "may": privileges}
        for table, owner, role, privileges in conn.execute(_GRANTS, [schema])
        if role != owner
    ]
