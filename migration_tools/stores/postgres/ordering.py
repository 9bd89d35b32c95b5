"""Which types two servers sort alike: others are walked by their text, in the collation C."""

import re

_NUMBERS = re.compile(r"(bigint|integer|smallint|numeric(\(\d+,\d+\))?)\Z")
_ITSELF = re.compile(
    r"(uuid|date|timestamp(\(\d\))? with(out)? time zone|bytea|boolean|double precision|real|inet|cidr|macaddr)\Z"
)
TEXT = "text"


def order_of(type_name: str) -> str:
    """The name of the order that keys of this type are walked in; two types of one order sort alike.

    A locale decides over text, and each side over its own enums; of other types nothing is known.
    """
    if _NUMBERS.match(type_name):
        return "number"
    return type_name.split("(")[0] if _ITSELF.match(type_name) else TEXT
