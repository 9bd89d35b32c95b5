"""Keys of every kind: copied in chunks of three rows beside writes, synced, compared, and carried back."""

from collections.abc import Callable

import pytest

from migration_tools.playbook import Projection
from tests.conftest import Pair
from tests.shapes.scene import Shape

Shaped = Callable[..., Shape]

UNLIKE = """DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || indexname FROM pg_indexes WHERE indexname LIKE
    'shapes_word%like'); END $$"""
LOOSE = "CREATE COLLATION IF NOT EXISTS loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
WORDS = """INSERT INTO shapes_word (spelling, meaning)
    VALUES ('a', 'x'), ('B', NULL), ('c', ''), ('Zebra', 'z'), ('ähre', 'ä'), ('Äpfel', 'Ä'), ('😀', 'grin'),
           ('e' || chr(769), 'combining'), ('é', 'composed'), ('', 'empty'), (' ', 'blank'), ('10', 'ten'),
           ('9', 'nine'), ('%s', 'percent'), ('back\\slash', '{"}'), ('null', 'NULL'), ('"quoted", {}', 'braces')"""
WORD = Projection("shapes.Word", into="svc_word", key={"word": "spelling"}, columns={"meaning": "meaning"})
WORD_VIEW = {"words": ("SELECT spelling, meaning FROM shapes_word", "SELECT word, meaning FROM svc_word")}
LIVE = [
    "UPDATE shapes_word SET meaning = 'changed' WHERE spelling IN ('a', 'Zebra', '😀', '')",
    "UPDATE shapes_word SET spelling = 'renamed ' || spelling WHERE spelling IN ('c', '9', '%s')",
    "DELETE FROM shapes_word WHERE spelling IN ('B', 'null')",
    "INSERT INTO shapes_word VALUES ('B', 'again'), ('\uff46ull width', 'new')",
    "UPDATE shapes_word SET spelling = 'A' WHERE spelling = 'a'",
    "UPDATE shapes_word SET spelling = 'zebra' WHERE spelling = 'Zebra'",
]
BACK = [
    "UPDATE svc_word SET meaning = 'from the service' WHERE word IN ('A', '10')",
    "UPDATE svc_word SET word = 'a' WHERE word = 'A'",
    "INSERT INTO svc_word VALUES ('nouveau', NULL)",
    "DELETE FROM svc_word WHERE word = 'é'",
]
AGAIN = ["UPDATE shapes_word SET spelling = 'NOUVEAU' WHERE spelling = 'nouveau'"]


def test_a_text_key_goes_there_and_back(shaped: Shaped) -> None:
    target = "CREATE TABLE svc_word (word text PRIMARY KEY, meaning text)"
    shape = shaped([WORD], WORD_VIEW, source=[WORDS], target=[target])
    shape.carry(live=LIVE, back=BACK, again=AGAIN)


@pytest.fixture
def icu(pair: Pair) -> None:
    """A server built with ICU; the wheel's are not, Debian's 15 is."""
    with pair.connect("shop") as conn:
        if conn.execute("SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'").fetchone() == (0,):
            pytest.skip("this PostgreSQL is built without ICU; STRANGLE_TEST_PG_VERSION=15 has it")


@pytest.mark.usefixtures("icu")
def test_text_keys_in_other_collations_on_each_side_go_there_and_back(shaped: Shaped) -> None:
    source = ['ALTER TABLE shapes_word ALTER COLUMN spelling TYPE varchar(50) COLLATE "und-x-icu"', WORDS]
    target = 'CREATE TABLE svc_word (word varchar(60) COLLATE "de-x-icu" PRIMARY KEY, meaning text)'
    shape = shaped([WORD], WORD_VIEW, source=source, target=[target])
    shape.carry(live=LIVE, back=BACK, again=AGAIN)


@pytest.mark.usefixtures("icu")
def test_text_keys_of_which_some_are_equal_without_being_the_same(shaped: Shaped) -> None:
    """A nondeterministic collation: a changed key may equal the old one, and must not take the row away."""
    strict = WORDS.replace("('e' || chr(769), 'combining'), ", "").replace("('Äpfel', 'Ä'), ", "")
    source = [UNLIKE, LOOSE, "ALTER TABLE shapes_word ALTER COLUMN spelling TYPE varchar(50) COLLATE loose", strict]
    target = "CREATE TABLE svc_word (word text COLLATE loose PRIMARY KEY, meaning text)"
    shape = shaped([WORD], WORD_VIEW, source=source, target=[LOOSE, target])
    shape.carry(live=LIVE, back=BACK, again=AGAIN)


@pytest.mark.usefixtures("icu")
def test_a_loose_key_into_a_strict_one(shaped: Shaped) -> None:
    strict = WORDS.replace("('e' || chr(769), 'combining'), ", "").replace("('Äpfel', 'Ä'), ", "")
    source = [UNLIKE, LOOSE, "ALTER TABLE shapes_word ALTER COLUMN spelling TYPE varchar(50) COLLATE loose", strict]
    target = "CREATE TABLE svc_word (word text PRIMARY KEY, meaning text)"
    shape = shaped([WORD], WORD_VIEW, source=source, target=[target])
    shape.carry(live=LIVE, back=BACK, again=AGAIN)


def test_a_uuid_key_goes_there_and_back(shaped: Shaped) -> None:
    shape = shaped(
        [Projection("shapes.Token", into="svc_token", key={"id": "id"}, columns={"label": "label"})],
        {"tokens": ("SELECT id, label FROM shapes_token", "SELECT id, label FROM svc_token")},
        source=["INSERT INTO shapes_token SELECT md5(n::text)::uuid, 'n' || n FROM generate_series(1, 20) n"],
        target=["CREATE TABLE svc_token (id uuid PRIMARY KEY, label varchar(40) NOT NULL)"],
    )
    shape.carry(
        live=[
            "UPDATE shapes_token SET label = 'changed' WHERE id::text < '8'",
            "UPDATE shapes_token SET id = gen_random_uuid() WHERE id::text > 'c'",
            "DELETE FROM shapes_token WHERE label = 'n3'",
        ],
        back=["UPDATE svc_token SET id = gen_random_uuid(), label = 'back'"],
    )


def test_a_composite_key_goes_there_and_back(shaped: Shaped) -> None:
    shape = shaped(
        [
            Projection(
                "shapes.Seat",
                into="svc_seat",
                key={"row_no": "number", "room": "hall"},
                columns={"guest": "taken_by"},
            )
        ],
        {"seats": ("SELECT hall, number, taken_by FROM shapes_seat", "SELECT room, row_no, guest FROM svc_seat")},
        source=[
            "INSERT INTO shapes_seat SELECT h, n, h || n FROM generate_series(1, 7) n, unnest(ARRAY['a','Ä','','b']) h"
        ],
        target=["CREATE TABLE svc_seat (room text, row_no bigint, guest text, PRIMARY KEY (room, row_no))"],
    )
    shape.carry(
        live=[
            "UPDATE shapes_seat SET taken_by = NULL WHERE number = 3",
            "UPDATE shapes_seat SET number = number + 100 WHERE hall = 'Ä'",
            "UPDATE shapes_seat SET hall = 'z' WHERE hall = ''",
            "DELETE FROM shapes_seat WHERE number = 5",
            "INSERT INTO shapes_seat VALUES ('', 1, 'late')",
        ],
        back=[
            "UPDATE svc_seat SET room = 'y' WHERE room = 'z'",
            "DELETE FROM svc_seat WHERE row_no = 2",
            "INSERT INTO svc_seat VALUES ('new', 9, NULL)",
        ],
    )


def test_rows_that_swap_their_keys_keep_what_is_theirs(shaped: Shaped) -> None:
    shape = shaped(
        [Projection("shapes.Tag", into="svc_tag", key={"id": "id"}, columns={"name": "name"})],
        {"tags": ("SELECT id, name FROM shapes_tag", "SELECT id, name FROM svc_tag")},
        source=["INSERT INTO shapes_tag SELECT n, 't' || n FROM generate_series(1, 9) n"],
        target=["CREATE TABLE svc_tag (id bigint PRIMARY KEY, name text UNIQUE)"],
    )
    shape.copy_between()
    shape.together(
        [
            "UPDATE shapes_tag SET id = -1 WHERE id = 1",
            "UPDATE shapes_tag SET id = 1 WHERE id = 8",
            "UPDATE shapes_tag SET id = 8 WHERE id = -1",
        ]
    )
    assert shape.differences() == []
    assert shape.shop.execute("SELECT name FROM shapes_tag WHERE id = 1").fetchone() == ("t8",)
