"""What the MongoDB adapter writes survives BSON, where no server is at hand; the suite itself needs `MONGODB_URL`."""

import bson
import pytest

from migration_tools.stores import mongodb
from migration_tools.stores.ports import Shape, Values
from migration_tools.testing.store_rows import AWKWARD, AWKWARD_KEYS, EVERYTHING, PAIRS
from migration_tools.testing.stores import canonical_values, row


@pytest.mark.parametrize(
    ("shape", "values"), [(EVERYTHING, v) for v in AWKWARD] + [(PAIRS, v) for v in AWKWARD_KEYS], ids=str
)
def test_a_document_reads_back_as_the_row(shape: Shape, values: Values) -> None:
    document = bson.decode(bson.encode(mongodb._document(shape, row(shape, 5, values))))
    assert not isinstance(document["_id"], list), "MongoDB takes no array as _id"
    assert mongodb._key(document) == shape.key_of(values)
    assert mongodb._values(shape, document) == canonical_values(shape, values)


def test_a_number_of_another_type_is_a_difference() -> None:
    values = AWKWARD[0]
    document = mongodb._document(EVERYTHING, row(EVERYTHING, 5, values))
    for name in ("id", "active", "total", "label"):
        tampered = bson.decode(bson.encode({**document, name: 1.5}))
        assert mongodb._values(EVERYTHING, tampered) != canonical_values(EVERYTHING, values)
