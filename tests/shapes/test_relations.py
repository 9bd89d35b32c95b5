"""Tables that refer to themselves, in circles, through tables of Django's own, to parents and to anything."""

import random
from collections.abc import Callable

import pytest
from django.db.models import TextField, Value
from django.db.models.functions import Concat

from migration_tools.errors import PlaybookError
from migration_tools.playbook import Projection
from migration_tools.transfer import waiting
from tests.shapes.scene import Shape

pytestmark = pytest.mark.thorough

Shaped = Callable[..., Shape]

DEFERRED = "DEFERRABLE INITIALLY DEFERRED"
PART = Projection("shapes.Part", into="svc_part", key={"id": "id"}, columns={"name": "name", "whole_id": "whole_id"})
PARTS = {"parts": ("SELECT id, name, whole_id FROM shapes_part", "SELECT id, name, whole_id FROM svc_part")}
SVC_PART = f"CREATE TABLE svc_part (id bigint PRIMARY KEY, name text, whole_id bigint REFERENCES svc_part {DEFERRED})"
# Each part belongs to a later one, the last to the first but one: every reference but one leads out of the chunk.
TREE = """INSERT INTO shapes_part SELECT n, 'p' || n, CASE WHEN n < 20 THEN n + 1 ELSE 1 END
    FROM generate_series(1, 20) n"""


@pytest.fixture
def tree(shaped: Shaped) -> Shape:
    """A table whose rows refer to rows of later chunks."""
    return shaped([PART], PARTS, source=[TREE], target=[SVC_PART])


TREE_LIVE = [
    "UPDATE shapes_part SET whole_id = 20 WHERE id = 2",
    "UPDATE shapes_part SET whole_id = 19 WHERE id = 1",
    "INSERT INTO shapes_part VALUES (0, 'new root', 17), (100, 'new leaf', 0)",
    "UPDATE shapes_part SET whole_id = NULL WHERE id IN (3, 4)",
    "UPDATE shapes_part SET whole_id = 100 WHERE id = 3",
    "UPDATE shapes_part SET whole_id = NULL WHERE whole_id = 12; DELETE FROM shapes_part WHERE id = 12",
    "UPDATE shapes_part SET name = name || '!' WHERE id % 2 = 0",
]


def test_a_tree_in_one_table_goes_there_and_back(tree: Shape) -> None:
    tree.carry(
        live=TREE_LIVE,
        back=["UPDATE svc_part SET whole_id = 100 WHERE id < 5", "INSERT INTO svc_part VALUES (200, 'x', 200)"],
        again=["UPDATE shapes_part SET whole_id = 200 WHERE id = 7"],
    )
    assert tree.orders.execute("SELECT count(*) FROM strangle_waiting_reference").fetchone() == (0,)


def test_a_tree_is_refused_by_its_own_reference_if_references_do_not_wait(
    tree: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The naive copy: rows as they come."""
    from migration_tools.transfer import merge

    monkeypatch.setattr(merge, "let_wait", lambda *_: None)
    with pytest.raises(Exception, match="violates foreign key constraint"):
        tree.copy_between()


def test_an_entry_that_is_not_renewed_by_later_writes_would_bring_back_an_old_reference(
    tree: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The naive variant of waiting: kept when first written, never renewed."""
    with tree.ends() as ends:
        from migration_tools.transfer.completion import complete_references
        from migration_tools.transfer.copy import copy_relation, whole_relations

        relation = whole_relations(ends.sender, tree.stream)[0]
        for _ in copy_relation(ends, relation, "test"):
            pass
        tree.shop.execute("UPDATE shapes_part SET whole_id = 8 WHERE id = 3")
        with monkeypatch.context() as naive:
            naive.setattr("migration_tools.transfer.sync.let_wait", lambda *_: None)
            tree.settle()
        complete_references(ends)
    assert tree.orders.execute("SELECT whole_id FROM svc_part WHERE id = 3").fetchone() == (4,)


@pytest.mark.parametrize("seed", range(8))
def test_random_writes_into_a_tree_while_it_is_copied(tree: Shape, seed: int) -> None:
    choose = random.Random(seed)
    writes = []
    for number in range(40):
        some, other = choose.randint(1, 24), choose.randint(1, 24)
        writes.append(
            choose.choice(
                [
                    f"""UPDATE shapes_part SET whole_id = (SELECT id FROM shapes_part WHERE id = {other})
                        WHERE id = {some}""",
                    f"UPDATE shapes_part SET whole_id = NULL, name = '{number}' WHERE id = {some}",
                    f"""UPDATE shapes_part SET whole_id = NULL WHERE whole_id = {some};
                        DELETE FROM shapes_part WHERE id = {some}""",
                    f"INSERT INTO shapes_part VALUES ({some}, 'again', {some}) ON CONFLICT DO NOTHING",
                ]
            )
        )
    tree.copy_between(writes)
    tree.settle()
    assert tree.differences() == []
    assert tree.verified() == []


def test_a_copy_cut_off_before_its_references_are_put_in_goes_on(tree: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PORTION", 4)
    from migration_tools.kernel import points
    from migration_tools.transfer.completion import complete_references

    def die() -> None:
        raise KeyboardInterrupt

    with points.on("completion.portion_done", die), pytest.raises(KeyboardInterrupt):
        tree.copy_between()
    tree.shop.execute("UPDATE shapes_part SET whole_id = 6 WHERE id > 15")
    tree.settle()
    with tree.ends() as ends:
        complete_references(ends)
    assert tree.differences() == []


TEAM = Projection(
    "shapes.Team", into="svc_team", key={"id": "id"}, columns={"name": "name", "captain_id": "captain_id"}
)
PLAYER = Projection(
    "shapes.Player", into="svc_player", key={"id": "id"}, columns={"name": "name", "team_id": "team_id"}
)
CIRCLE = [
    "CREATE TABLE svc_team (id bigint PRIMARY KEY, name text, captain_id bigint)",
    f"""CREATE TABLE svc_player (id bigint PRIMARY KEY, name text,
        team_id bigint NOT NULL REFERENCES svc_team {DEFERRED})""",
    f"ALTER TABLE svc_team ADD CONSTRAINT captain FOREIGN KEY (captain_id) REFERENCES svc_player {DEFERRED}",
]
TEAMS = [
    "BEGIN",
    "INSERT INTO shapes_team SELECT n, 't' || n, 11 - n FROM generate_series(1, 10) n",
    "INSERT INTO shapes_player SELECT n, 'p' || n, 1 + n % 10 FROM generate_series(1, 30) n",
    "COMMIT",
]
CIRCLE_VIEWS = {
    "teams": ("SELECT id, name, captain_id FROM shapes_team", "SELECT id, name, captain_id FROM svc_team"),
    "players": ("SELECT id, name, team_id FROM shapes_player", "SELECT id, name, team_id FROM svc_player"),
}


@pytest.mark.parametrize("order", [[TEAM, PLAYER], [PLAYER, TEAM]], ids=["parents first", "children first"])
def test_tables_that_refer_to_each_other_go_there_and_back(shaped: Shaped, order: list[Projection]) -> None:
    shape = shaped(order, CIRCLE_VIEWS, source=TEAMS, target=CIRCLE)
    shape.write(["UPDATE shapes_player SET name = 'early' WHERE id = 3"])
    shape.carry(
        live=[
            "UPDATE shapes_team SET captain_id = 30 WHERE id = 1",
            "UPDATE shapes_player SET team_id = 10 WHERE id IN (1, 9)",
            """BEGIN; INSERT INTO shapes_team VALUES (50, 'n', 51);
               INSERT INTO shapes_player VALUES (51, 'n', 50); COMMIT""",
            "UPDATE shapes_player SET team_id = 50 WHERE id = 9",
            "UPDATE shapes_team SET captain_id = NULL WHERE id = 7",
            "DELETE FROM shapes_player WHERE id = 4 AND NOT EXISTS (SELECT FROM shapes_team WHERE captain_id = 4)",
        ],
        back=["UPDATE svc_team SET captain_id = 9", "INSERT INTO svc_player VALUES (60, 'q', 50)"],
    )


def test_a_row_taken_out_for_its_new_parent_does_not_leave_others_pointing_at_it(shaped: Shaped) -> None:
    """A captain arrives early by an event, is pointed at, and moves to a team that is not copied yet."""
    shape = shaped([TEAM, PLAYER], CIRCLE_VIEWS, source=TEAMS, target=CIRCLE)
    shape.write(
        [
            """BEGIN; INSERT INTO shapes_team VALUES (0, 'n', 100);
               INSERT INTO shapes_player VALUES (100, 'n', 0); COMMIT""",
            "UPDATE shapes_player SET team_id = 5 WHERE id = 100",
        ]
    )
    assert shape.orders.execute("SELECT id, captain_id FROM svc_team").fetchall() == [(0, None)]
    assert shape.orders.execute("SELECT count(*) FROM svc_player").fetchone() == (0,)
    shape.copy_between()
    assert shape.differences() == []


def test_a_circle_of_references_that_must_all_have_a_value_is_refused_with_the_remedy(shaped: Shaped) -> None:
    target = SVC_PART.replace("whole_id bigint", "whole_id bigint NOT NULL")
    with pytest.raises(PlaybookError, match=r"'svc_part' lead back to itself .* be NULL in the target"):
        shaped([PART], PARTS, target=[target])


def test_a_many_to_many_relation_goes_through_its_own_table(shaped: Shaped) -> None:
    shape = shaped(
        [
            Projection(
                "shapes.Article.tags.through",
                into="svc_labels",
                key={"id": "id"},
                columns={"text_id": "article_id", "label_id": "tag_id"},
            ),
            Projection("shapes.Tag", into="svc_label", key={"id": "id"}, columns={"name": "name"}),
            Projection("shapes.Article", into="svc_text", key={"id": "id"}, columns={"title": "title"}),
        ],
        {
            "tags": ("SELECT id, name FROM shapes_tag", "SELECT id, name FROM svc_label"),
            "links": ("SELECT article_id, tag_id FROM shapes_article_tags", "SELECT text_id, label_id FROM svc_labels"),
        },
        source=[
            "INSERT INTO shapes_tag SELECT n, 't' || n FROM generate_series(1, 6) n",
            "INSERT INTO shapes_article SELECT n, 'a' || n FROM generate_series(1, 6) n",
            """INSERT INTO shapes_article_tags (article_id, tag_id)
               SELECT a.id, t.id FROM shapes_article a, shapes_tag t""",
        ],
        target=[
            "CREATE TABLE svc_label (id bigint PRIMARY KEY, name text UNIQUE)",
            "CREATE TABLE svc_text (id bigint PRIMARY KEY, title text)",
            f"""CREATE TABLE svc_labels (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                text_id bigint NOT NULL REFERENCES svc_text {DEFERRED},
                label_id bigint NOT NULL REFERENCES svc_label {DEFERRED}, UNIQUE (text_id, label_id))""",
        ],
    )
    shape.carry(
        live=[
            "DELETE FROM shapes_article_tags WHERE tag_id = 2",
            "DELETE FROM shapes_tag WHERE id = 2",
            "UPDATE shapes_article_tags SET tag_id = 99 WHERE false; INSERT INTO shapes_tag VALUES (99, 'late')",
            "INSERT INTO shapes_article_tags (article_id, tag_id) SELECT id, 99 FROM shapes_article",
        ],
        back=["DELETE FROM svc_labels WHERE label_id = 99 AND text_id > 3", "UPDATE svc_label SET name = name || 'x'"],
    )


def test_multi_table_inheritance_follows_its_parents_table(shaped: Shaped) -> None:
    shape = shaped(
        [
            Projection("shapes.Place", into="svc_place", key={"id": "id"}, columns={"title": "name"}),
            Projection(
                "shapes.Restaurant",
                into="svc_restaurant",
                key={"place_id": "place_ptr_id"},
                columns={
                    "stars": "stars",
                    "title": "name",
                    "shout": Concat("name", Value("!"), output_field=TextField()),
                },
            ),
        ],
        {
            "places": ("SELECT id, name FROM shapes_place", "SELECT id, title FROM svc_place"),
            "restaurants": (
                """SELECT place_ptr_id, stars, name, name || '!'
                   FROM shapes_restaurant JOIN shapes_place ON id = place_ptr_id""",
                "SELECT place_id, stars, title, shout FROM svc_restaurant",
            ),
        },
        source=[
            "INSERT INTO shapes_place SELECT n, 'p' || n FROM generate_series(1, 12) n",
            "INSERT INTO shapes_restaurant SELECT n, n % 4 FROM generate_series(2, 12, 2) n",
        ],
        target=[
            "CREATE TABLE svc_place (id bigint PRIMARY KEY, title text)",
            f"""CREATE TABLE svc_restaurant (place_id bigint PRIMARY KEY REFERENCES svc_place {DEFERRED},
                stars smallint, title text, shout text)""",
        ],
    )
    from tests.shapes.models import Restaurant

    shape.copy_between(["UPDATE shapes_place SET name = 'renamed' WHERE id IN (2, 3)"])
    Restaurant.objects.create(id=50, name="by the ORM", stars=3)
    Restaurant.objects.filter(id=4).update(name="bulk", stars=1)
    Restaurant.objects.get(id=6).delete()
    shape.settle()
    shape.carry(
        live=["UPDATE shapes_place SET name = upper(name)"],
        back=["UPDATE svc_restaurant SET stars = 5"],
        again=["UPDATE shapes_place SET name = 'again' WHERE id = 8"],
    )


def test_a_key_that_is_a_column_of_the_parents_table_is_refused_with_the_remedy(shaped: Shaped) -> None:
    with pytest.raises(PlaybookError, match=r"column of the parent shapes.Place; map the link, 'place_ptr_id'"):
        shaped(
            [Projection("shapes.Restaurant", into="svc_r", key={"id": "id"}, columns={"stars": "stars"})],
            {},
            target=["CREATE TABLE svc_r (id bigint PRIMARY KEY, stars int)"],
        )


KIND = Concat("content_type__app_label", Value("."), "content_type__model")


def test_a_generic_relation_goes_by_the_name_of_its_type_and_comes_back_by_its_number(shaped: Shaped) -> None:
    """The numbers of content types differ between databases; the service has a replica of them and refers to names."""
    shape = shaped(
        [
            Projection(
                "shapes.Comment",
                into="svc_comment",
                key={"id": "id"},
                columns={"text": "text", "kind": KIND, "object_id": "object_id"},
                reverse={"content_type_id": "kind__id"},
            ),
        ],
        {
            "comments": (
                """SELECT c.id, text, app_label || '.' || model, object_id FROM shapes_comment c
                   JOIN django_content_type t ON t.id = c.content_type_id""",
                "SELECT id, text, kind, object_id FROM svc_comment",
            )
        },
        references=[
            Projection(
                "contenttypes.ContentType",
                into="svc_kind",
                key={"id": "id"},
                columns={"kind": Concat("app_label", Value("."), "model")},
            )
        ],
        source=[
            """INSERT INTO shapes_comment SELECT row_number() OVER (), 'c', t.id, n
               FROM django_content_type t, generate_series(1, 3) n ORDER BY t.id DESC"""
        ],
        target=[
            "CREATE TABLE svc_kind (id bigint PRIMARY KEY, kind text NOT NULL UNIQUE)",
            f"""CREATE TABLE svc_comment (id bigint PRIMARY KEY, text text, object_id bigint,
                kind text NOT NULL REFERENCES svc_kind (kind) {DEFERRED})""",
        ],
    )
    shape.carry(
        live=["UPDATE shapes_comment SET content_type_id = (SELECT max(id) FROM django_content_type) WHERE id < 5"],
        back=[
            "INSERT INTO svc_comment VALUES (900, 'from the service', 1, 'orders.order')",
            "UPDATE svc_comment SET kind = 'auth.group' WHERE id = 7",
        ],
    )
    found = shape.shop.execute(
        "SELECT model FROM shapes_comment c JOIN django_content_type t ON t.id = c.content_type_id WHERE c.id = 900"
    ).fetchone()
    assert found == ("order",)
