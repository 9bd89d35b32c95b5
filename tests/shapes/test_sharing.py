"""Filters, soft deletes, one row in several tables and several tables in one."""

from collections.abc import Callable

import pytest
from django.db.models import F, Q, Value

from migration_tools.errors import PlaybookError
from migration_tools.playbook import Projection
from tests.shapes.scene import Shape

pytestmark = pytest.mark.thorough

Shaped = Callable[..., Shape]

DOCUMENTS = """INSERT INTO shapes_document (id, tenant, kind, title, body, deleted)
    SELECT n, n % 3, CASE n % 2 WHEN 0 THEN 'letter' ELSE 'memo' END, 't' || n, 'b' || n, n % 5 = 0
    FROM generate_series(1, 24) n"""
SVC_DOCUMENT = "CREATE TABLE svc_document (id bigint PRIMARY KEY, title text, deleted boolean)"


def document(**changes: object) -> Projection:
    """Documents of one tenant."""
    values = {"into": "svc_document", "key": {"id": "id"}, "columns": {"title": "title", "deleted": "deleted"}}
    values |= {"reverse": {"tenant": Value(1), "kind": Value("letter")}, "filter": Q(tenant=1)} | changes
    return Projection("shapes.Document", **values)  # type: ignore[arg-type]


def test_one_tenant_of_many_goes_there_and_back_and_rows_move_in_and_out(shaped: Shaped) -> None:
    shape = shaped(
        [document()],
        {
            "documents": (
                "SELECT id, title, deleted FROM shapes_document WHERE tenant = 1",
                "SELECT id, title, deleted FROM svc_document",
            )
        },
        source=[DOCUMENTS, "UPDATE shapes_document SET kind = 'letter'"],
        target=[SVC_DOCUMENT],
    )
    others = "SELECT * FROM shapes_document WHERE tenant <> 1 ORDER BY id"
    shape.copy_between(
        [
            "UPDATE shapes_document SET tenant = 1 WHERE id IN (2, 20)",
            "UPDATE shapes_document SET tenant = 2 WHERE id IN (1, 22)",
            "UPDATE shapes_document SET tenant = 1, title = 'in again' WHERE id = 1",
        ]
    )
    before = shape.shop.execute(others).fetchall()
    shape.carry(
        live=[],
        back=["UPDATE svc_document SET title = 'back'", "DELETE FROM svc_document WHERE id = 7"],
        again=["UPDATE shapes_document SET tenant = 2 WHERE id = 4"],
    )
    assert [row for row in shape.shop.execute(others).fetchall() if row[0] != 4] == before


def test_a_row_that_the_filter_leaves_out_is_extra_in_the_target(shaped: Shaped) -> None:
    alike = "UPDATE shapes_document SET kind = 'letter'"
    shape = shaped([document()], {}, source=[DOCUMENTS, alike], target=[SVC_DOCUMENT])
    shape.copy_between()
    assert shape.verified() == []
    with shape.orders.transaction():
        shape.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        shape.orders.execute("INSERT INTO svc_document VALUES (2, 't2', false)")
    assert [(key, str(kind)) for _, _, key, kind, _ in shape.verified()] == [(("2",), "extra")]


def test_a_filter_with_a_percent_sign_is_compared_down_to_the_row(shaped: Shaped) -> None:
    shape = shaped([document(filter=Q(title__startswith="t1"))], {}, source=[DOCUMENTS], target=[SVC_DOCUMENT])
    shape.copy_between(["UPDATE shapes_document SET title = 't1 as well' WHERE id = 2"])
    with shape.orders.transaction():
        shape.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        shape.orders.execute("UPDATE svc_document SET title = 'wrong' WHERE id = 2")
    assert [key for _, _, key, _, _ in shape.verified()] == [("2",)]


def test_the_way_back_of_a_filter_copied_whole_leaves_rows_of_others_alone(shaped: Shaped) -> None:
    """A chunk makes a key range equal; of the old table only the filter's rows are its own."""
    shape = shaped([document()], {}, source=[DOCUMENTS], target=[SVC_DOCUMENT])
    shape.copy_between()
    from migration_tools.capture.models import Side
    from migration_tools.transfer.copy import copy_relation, whole_relations

    shape.hand_over(Side.TARGET)
    shape.write(["DELETE FROM svc_document WHERE id < 10"], reverse=True)
    with shape.ends(reverse=True) as ends:
        for _ in copy_relation(ends, whole_relations(ends.sender, shape.stream)[0], "test"):
            pass
    assert shape.shop.execute(
        "SELECT count(*) FILTER (WHERE tenant = 1), count(*) FROM shapes_document"
    ).fetchone() == (
        5,
        21,
    )


def test_default_managers_that_filter_or_raise_hide_nothing(shaped: Shaped) -> None:
    shape = shaped(
        [
            document(filter=None, reverse={}, columns={"title": "title", "deleted": "deleted", "tenant": "tenant"}),
            Projection("shapes.Secret", into="svc_secret", key={"id": "id"}, columns={"text": "text"}),
        ],
        {
            "documents": (
                "SELECT id, title, deleted FROM shapes_document",
                "SELECT id, title, deleted FROM svc_document",
            ),
            "secrets": ("SELECT id, text FROM shapes_secret", "SELECT id, text FROM svc_secret"),
        },
        source=[
            DOCUMENTS,
            "ALTER TABLE shapes_document ALTER kind SET DEFAULT 'letter'",
            "INSERT INTO shapes_secret SELECT n, 's' || n FROM generate_series(1, 5) n",
        ],
        target=[
            SVC_DOCUMENT,
            "ALTER TABLE svc_document ADD tenant int",
            "CREATE TABLE svc_secret (id bigint PRIMARY KEY, text text)",
        ],
    )
    from tests.shapes.models import Document

    shape.copy_between()
    Document.objects.filter(id=3).update(deleted=True)
    Document._base_manager.filter(id=3).update(title="changed after it was hidden")
    shape.settle()
    shape.carry(
        live=["DELETE FROM shapes_document WHERE id = 10"], back=["UPDATE svc_document SET deleted = NOT deleted"]
    )


WIDE = [
    Projection("shapes.Document", into="svc_head", key={"id": "id"}, columns={"tenant": "tenant", "title": "title"}),
    Projection(
        "shapes.Document",
        into="svc_body",
        key={"document": "id"},
        columns={"words": "body", "sort": "kind", "gone": "deleted"},
    ),
]
SVC_WIDE = [
    "CREATE TABLE svc_head (id bigint PRIMARY KEY, tenant int, title text)",
    "CREATE TABLE svc_body (document bigint PRIMARY KEY, words text, sort text, gone boolean)",
]


def test_one_row_goes_into_two_tables_and_comes_back_as_one(shaped: Shaped) -> None:
    shape = shaped(
        WIDE,
        {
            "heads": ("SELECT id, tenant, title FROM shapes_document", "SELECT id, tenant, title FROM svc_head"),
            "bodies": ("SELECT id, body, kind, deleted FROM shapes_document", "SELECT * FROM svc_body"),
        },
        source=[DOCUMENTS],
        target=SVC_WIDE,
    )
    shape.carry(
        live=[
            "UPDATE shapes_document SET body = 'new', title = 'new' WHERE id < 5",
            "UPDATE shapes_document SET id = id + 100 WHERE id = 6",
            "DELETE FROM shapes_document WHERE id = 7",
        ],
        back=[
            "UPDATE svc_head SET title = 'back' WHERE id < 9",
            "UPDATE svc_body SET words = 'back', gone = true WHERE document > 15",
            "DELETE FROM svc_body WHERE document = 9; DELETE FROM svc_head WHERE id = 9",
            """BEGIN; INSERT INTO svc_head VALUES (500, 1, 'made there');
               INSERT INTO svc_body VALUES (500, 'b', 'memo', false); COMMIT""",
        ],
        again=["UPDATE shapes_document SET body = NULL WHERE id = 500"],
    )


def test_a_table_goes_into_two_by_kind_and_comes_back(shaped: Shaped) -> None:
    def kind(name: str) -> Projection:
        columns = {"tenant": "tenant", "title": "title", "body": "body", "deleted": "deleted"}
        reverse = {"kind": Value(name)}
        return Projection(
            "shapes.Document",
            into=f"svc_{name}",
            key={"id": "id"},
            columns=columns,
            reverse=reverse,
            filter=Q(kind=name),
        )

    shape = shaped(
        [kind("letter"), kind("memo")],
        {
            name: (
                f"SELECT id, tenant, title, body, deleted FROM shapes_document WHERE kind = '{name}'",
                f"SELECT * FROM svc_{name}",
            )
            for name in ("letter", "memo")
        },
        source=[DOCUMENTS],
        target=[
            f"CREATE TABLE svc_{name} (id bigint PRIMARY KEY, tenant int, title text, body text, deleted boolean)"
            for name in ("letter", "memo")
        ],
    )
    shape.carry(
        live=[
            "UPDATE shapes_document SET kind = 'memo' WHERE id IN (2, 20)",
            "UPDATE shapes_document SET kind = 'letter' WHERE id IN (1, 2, 23)",
        ],
        back=[
            "UPDATE svc_memo SET title = 'back'",
            """BEGIN; INSERT INTO svc_memo SELECT * FROM svc_letter WHERE id = 4;
               DELETE FROM svc_letter WHERE id = 4; COMMIT""",
        ],
        again=["UPDATE shapes_document SET kind = 'letter' WHERE id = 4"],
    )


def bill(model: str, kind: str, **changes: object) -> Projection:
    """Invoices or credit notes as bills."""
    columns = {"cents": "cents", "why": "reason" if kind == "credit" else Value(None)}
    values: dict[str, object] = {"into": "svc_bill", "key": {"kind": Value(kind), "number": "id"}, "columns": columns}
    return Projection(model, **{**values, **changes})  # type: ignore[arg-type]


SVC_BILL = "CREATE TABLE svc_bill (kind varchar(10), number bigint, cents bigint, why text, PRIMARY KEY (kind, number))"
BILLS = [
    "INSERT INTO shapes_invoice SELECT n, n * 100 FROM generate_series(1, 15) n",
    "INSERT INTO shapes_creditnote SELECT n, n * -100, 'r' || n FROM generate_series(1, 12) n",
]


def test_two_tables_go_into_one_and_come_back(shaped: Shaped) -> None:
    shape = shaped(
        [bill("shapes.Invoice", "invoice"), bill("shapes.CreditNote", "credit")],
        {
            "bills": (
                """SELECT 'invoice', id, cents, NULL FROM shapes_invoice
                   UNION ALL SELECT 'credit', * FROM shapes_creditnote""",
                "SELECT * FROM svc_bill",
            )
        },
        source=BILLS,
        target=[SVC_BILL],
    )
    shape.carry(
        live=[
            "UPDATE shapes_invoice SET cents = 0 WHERE id IN (1, 12)",
            "DELETE FROM shapes_creditnote WHERE id = 1",
            "UPDATE shapes_invoice SET id = id + 100 WHERE id = 3",
            "INSERT INTO shapes_creditnote VALUES (3, 5, 'x') ON CONFLICT (id) DO UPDATE SET reason = 'there'",
        ],
        back=[
            "UPDATE svc_bill SET cents = cents + 1",
            "DELETE FROM svc_bill WHERE number = 5",
            "INSERT INTO svc_bill VALUES ('invoice', 70, 1, NULL), ('credit', 70, 2, 'made there')",
            "UPDATE svc_bill SET kind = 'credit' WHERE kind = 'invoice' AND number = 2 AND false",
        ],
        again=["DELETE FROM shapes_invoice WHERE id = 70"],
    )
    assert shape.shop.execute("SELECT reason FROM shapes_creditnote WHERE id = 70").fetchone() == ("made there",)


def test_two_kinds_of_one_table_go_into_one_by_mappings_of_their_own(shaped: Shaped) -> None:
    """A row that changes from one filter into the other keeps its key and must not be taken for gone."""

    def part(kind: str, mark: int, title: str) -> Projection:
        columns = {"mark": Value(mark), "text": title, "deleted": "deleted", "tenant": "tenant"}
        reverse = {"kind": Value(kind), title: F("text")} | ({"title": Value("")} if title == "body" else {})
        return Projection(
            "shapes.Document", into="svc_all", key={"id": "id"}, columns=columns, reverse=reverse, filter=Q(kind=kind)
        )

    shape = shaped(
        [part("letter", 1, "title"), part("memo", 2, "body")],
        {
            "all": (
                """SELECT id, CASE kind WHEN 'letter' THEN 1 ELSE 2 END,
                   CASE kind WHEN 'letter' THEN title ELSE body END,
                   deleted, tenant FROM shapes_document""",
                "SELECT * FROM svc_all",
            )
        },
        source=[DOCUMENTS, "UPDATE shapes_document SET title = '' WHERE kind = 'memo'"],
        target=["CREATE TABLE svc_all (id bigint PRIMARY KEY, mark int, text text, deleted boolean, tenant int)"],
    )
    shape.carry(
        live=[
            "UPDATE shapes_document SET kind = 'memo', title = '' WHERE id IN (2, 20)",
            "UPDATE shapes_document SET kind = 'letter', title = 'x' WHERE id IN (1, 23)",
            "DELETE FROM shapes_document WHERE id = 3",
        ],
        back=["UPDATE svc_all SET text = text || '!'", "DELETE FROM svc_all WHERE id = 10"],
    )


@pytest.mark.parametrize(
    ("projections", "message"),
    [
        ([document(), document()], "cannot be told apart"),
        (
            [bill("shapes.Invoice", "a", columns={"cents": "cents"}), bill("shapes.CreditNote", "b")],
            "do not fill the same columns",
        ),
        (
            [
                bill("shapes.Invoice", "", key={"number": "id"}, columns={"why": Value("i")}),
                bill("shapes.CreditNote", "", key={"number": "id"}, columns={"why": Value("c")}),
            ],
            "may make the same key",
        ),
        ([document(), WIDE[1]], "declare the one without a filter first"),
        ([WIDE[0], document(filter=None, key={"id": "title"})], "by different keys"),
        ([document(key={"id": Value(1)})], "constants only"),
        ([document(key={"id": Value(1.5)})], "neither a field nor Value()"),
    ],
)
def test_what_is_ambiguous_is_refused(shaped: Shaped, projections: list[Projection], message: str) -> None:
    with pytest.raises(PlaybookError, match=message):
        shaped(projections, {}, target=[SVC_DOCUMENT, *SVC_WIDE, SVC_BILL])


def test_a_source_key_that_is_not_unique_is_refused_with_the_remedy(shaped: Shaped) -> None:
    with pytest.raises(PlaybookError, match=r"several rows of 'shapes_document' may have the same \['tenant'\]"):
        shaped([document(key={"id": "tenant"})], {}, target=[SVC_DOCUMENT])


def test_a_key_that_sorts_apart_on_the_two_sides_is_refused_with_the_remedy(shaped: Shaped) -> None:
    with pytest.raises(PlaybookError, match="which sort apart; let them have one type"):
        shaped([document()], {}, target=[SVC_DOCUMENT.replace("id bigint", "id text")])
