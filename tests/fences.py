"""Fenced blocks of Markdown pages, as every test of pages reads them."""

import re

#: What stands behind the opening fence (`python`, `fails 3`, nothing), and the block's text.
FENCE = re.compile(r"^ {0,3}```([^`\n]*)\n(.*?)^ {0,3}```[ ]*$", re.MULTILINE | re.DOTALL)
#: Blocks of lines to type; `fails N` says with which code its last line ends, `terminal` that they go on running.
TYPED = {"", "sh", "bash", "console", "terminal", "fails"}


def blocks(text: str) -> list[tuple[str, str]]:
    """Every block: what it is said to be, and its text."""
    return [(said.strip(), body) for said, body in FENCE.findall(text)]


def is_typed(said: str) -> bool:
    """Whether a block holds lines for a shell."""
    return (said.split() or [""])[0] in TYPED


def without_blocks(text: str) -> str:
    """The prose."""
    return FENCE.sub("", text)
