"""What a statement reads, writes and joins, by its text alone."""

import pytest

from migration_tools.analysis.statements import fingerprint, is_control, parse, shape_of


def tables(sql: str) -> tuple[set[str], set[str]]:
    statement = parse(shape_of(sql))
    return set(statement.reads), set(statement.writes)


@pytest.mark.parametrize(
    ("sql", "reads", "writes"),
    [
        ('SELECT "a"."x" FROM "a" INNER JOIN "b" ON ("a"."b_id" = "b"."id") WHERE "b"."y" = %s', {"a", "b"}, set()),
        ("SELECT x FROM a WHERE id IN (SELECT U0.a_id FROM b U0 WHERE U0.y = %s)", {"a", "b"}, set()),
        ("SELECT 1 FROM a WHERE EXISTS(SELECT 1 FROM b WHERE b.a_id = a.id)", {"a", "b"}, set()),
        ('INSERT INTO "a" ("x", "y") VALUES (%s, %s), (%s, %s) RETURNING "a"."id"', set(), {"a"}),
        ("INSERT INTO a (x) SELECT y FROM b", {"b"}, {"a"}),
        ('UPDATE "a" SET "x" = %s WHERE "a"."id" IN (%s, %s)', set(), {"a"}),
        ("UPDATE a SET x = b.y FROM b WHERE b.a_id = a.id", {"b"}, {"a"}),
        ("DELETE FROM a WHERE id IN (SELECT a_id FROM b)", {"b"}, {"a"}),
        ("DELETE FROM a USING b WHERE b.a_id = a.id", {"b"}, {"a"}),
        ("WITH c AS (SELECT id FROM a FOR UPDATE) UPDATE b SET x = 1 FROM c WHERE b.id = c.id", {"a"}, {"b"}),
        ("WITH gone AS (DELETE FROM a RETURNING id) INSERT INTO b (a_id) SELECT id FROM gone", set(), {"a", "b"}),
        ("TRUNCATE a, b", set(), {"a", "b"}),
        ("SELECT count(*) FROM generate_series(1, %(n)s) AS n, pg_class", set(), set()),
        ("-- who\nSELECT x -- the x, it's %s\nFROM a -- b\nJOIN c ON c.i = a.i", {"a", "c"}, set()),
        ("SELECT '--', $x$ -- $x$, \"--\" /* -- */ FROM a\nJOIN b ON true", {"a", "b"}, set()),
        ("SELECT x FROM public.a WHERE t > now() - %s::interval LIMIT %s", {"a"}, set()),
    ],
)  # fmt: skip
def test_tables_read_and_written(sql: str, reads: set[str], writes: set[str]) -> None:
    assert tables(sql) == (reads, writes)


def test_columns_are_of_the_nearest_table_that_the_qualifier_names() -> None:
    statement = parse(
        shape_of(
            'UPDATE "a" SET "x" = %s, "y" = "a"."z" WHERE "a"."id" IN (SELECT T1."a_id" FROM "b" T1 WHERE T1."k" = %s)'
        )
    )
    assert statement.columns_written == {("a", "x"), ("a", "y")}
    assert statement.columns_read == {("a", "z"), ("a", "id"), ("b", "a_id"), ("b", "k")}
    joined = parse(shape_of("SELECT o.total FROM orders o JOIN users u ON u.id = o.user_id WHERE o.x = u.x"))
    assert joined.joins == {(("orders", "user_id"), ("users", "id")), (("orders", "x"), ("users", "x"))}


def test_a_shape_forgets_parameters_and_the_length_of_lists() -> None:
    one = shape_of("SELECT x FROM a\n WHERE id IN (%s, %s, %s) AND y = %(name)s")
    assert one == shape_of("SELECT x FROM a WHERE id IN (%s) AND y = %s")
    assert shape_of("INSERT INTO a (x) VALUES (%s), (%s)") == shape_of("INSERT INTO a (x) VALUES (%s)")


def test_a_fingerprint_is_alike_for_django_and_for_pg_stat_statements() -> None:
    sent = shape_of('SELECT "a"."x" FROM "a" WHERE ("a"."k" = %s AND "a"."n" IN (%s, %s)) LIMIT 21')
    kept = shape_of('SELECT "a"."x" FROM "a" WHERE ("a"."k" = $1 AND "a"."n" IN ($2, $3)) LIMIT $4')
    assert fingerprint(sent) == fingerprint(kept)
    assert fingerprint(sent) != fingerprint(shape_of('SELECT "a"."y" FROM "a" WHERE "a"."k" = %s'))


def test_what_is_not_understood_says_so_and_control_statements_are_known() -> None:
    assert not parse("SELEC nothing FROM (").parsed
    assert is_control('SAVEPOINT "s1"')
    assert not is_control("SELECT 1")
