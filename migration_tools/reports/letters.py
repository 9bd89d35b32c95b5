"""Letters of reports: counts with their nouns, and text that cannot move a cursor or turn a line around."""

import re

_MARKUP = re.compile(r"[\\`*_\[\]#~|<>&]")
_ENTITIES = {"|": "&#124;", "<": "&lt;", ">": "&gt;", "&": "&amp;"}


def plural(count: int, noun: str) -> str:
    """Spell a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """Show what does not print, so that no value can move the cursor or turn the direction of writing."""
    return text if text.isprintable() else "".join(map(_visible, text))


def shape(value: str | None, type_: str = "") -> str | None:
    """What may be told of a value: its type and length. NULL and '' say nothing personal and stay."""
    if not value:
        return value
    unit = "char" if len(value) == 1 else "chars"
    return f"‹{type_ or 'text'}, {len(value):,} {unit}›"  # noqa: RUF001  (no value looks like that)


def plain_markdown(text: str) -> str:
    """The text as Markdown shows it, none of it markup; it also fits a cell of a table."""
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), printable(text))


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter
    code = ord(letter)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"
