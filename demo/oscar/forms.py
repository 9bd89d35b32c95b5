"""A form of a page as a browser would send it back: every field with the value that it shows."""

from __future__ import annotations

from html.parser import HTMLParser

Fields = dict[str, list[str]]
NOT_SENT = {"submit", "button", "image", "file", "reset"}


def filled_in(page: str, having: str) -> Fields:
    """The fields of the first form that has one called `having`; empty when none has."""
    reader = _Forms()
    reader.feed(page)
    return next((fields for fields in reader.forms if having in fields), {})


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Fields] = []
        self._select = ""
        self._text: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        name = found.get("name", "")
        if tag == "form":
            self.forms.append({})
        elif not self.forms or "disabled" in found:
            return
        elif tag == "input" and name and found.get("type", "text") not in NOT_SENT:
            ticked = found.get("type") not in {"checkbox", "radio"} or "checked" in found
            if ticked:
                self._send(name, found.get("value", "on" if found.get("type") == "checkbox" else ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in found:
            self._send(self._select, found.get("value", ""))
        elif tag == "textarea":
            self._select, self._text = name, ""

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._text is not None:
            # The first line break after the tag is not part of it.
            self._send(self._select, self._text.removeprefix("\r").removeprefix("\n"))
            self._text, self._select = None, ""
        elif tag == "select":
            self._select = ""

    def _send(self, name: str, value: str) -> None:
        if name:
            self.forms[-1].setdefault(name, []).append(value)
