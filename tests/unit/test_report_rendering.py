"""Reports are safe to open whatever the rows hold, stay small, and say what they leave out."""

import io
import re
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.verification.classify import classify
from migration_tools.verification.render_html import render_html
from migration_tools.verification.render_markdown import render_markdown
from migration_tools.verification.render_text import print_report, render_text
from migration_tools.verification.report import Difference, DifferenceKind, TableResult, VerificationReport

VOID = {"meta", "input", "br", "wbr"}
OPTIONAL_END = {"th", "td"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div", "p", "h1",
    "h2", "span", "table", "thead", "tbody", "tr", "th", "td", "a", "svg", "rect", "fieldset", "legend",
    "label", "input", "b", "i", "details", "summary", "code", "mark", "small",
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: tags, attributes, text, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID | OPTIONAL_END:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in OPTIONAL_END:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report(differences: list[Difference], *, truncated: int = 0, rows: int = 1_000) -> VerificationReport:
    table = TableResult(
        projection="sales_order",
        source_table="orders_order",
        target_table="sales_order",
        rows_source=rows,
        rows_target=rows,
        differences=differences,
        truncated=truncated,
    )
    return VerificationReport(
        context="orders", direction="forward", position=48_211, started=0.0, seconds=4.2, tables=[table]
    )


def row(key: str, source: str | None, target: str | None, *, column: str = "remark", type_: str = "text") -> Difference:
    difference = classify("sales_order", (key,), [column], {column: type_}, (source,), (target,))
    assert difference is not None
    return difference


ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></code><svg onload=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "\x1b[2J\x1b]0;title\x07",
    "\u202eright to left",
    "`|` <b>x</b> \\| [a](b)",
]


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.sampled_from(ATTACKS) | st.text(max_size=30), min_size=4, max_size=4),
    reveal=st.booleans(),
)
def test_no_value_name_or_key_becomes_markup(texts: list[str], reveal: bool) -> None:
    key, column, source, target = texts
    found = [row(key, source, target + "!" + source, column=column)]
    page = Page(render_html(report(found), reveal=reveal))
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in {"src", "style"} for name in attributes)
        assert tag != "a" or (attributes["href"] or "").startswith("#")
    for rendered in (
        render_text(report(found), reveal=reveal),
        render_markdown(report(found), reveal=reveal),
    ):
        assert all(line.isprintable() for line in rendered.split("\n"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_shown_as_it_is(attack: str) -> None:
    shown = "".join(Page(render_html(report([row("1", attack, None)]), reveal=True)).text)
    assert "alert(1)" not in attack or attack in shown


def test_markdown_keeps_a_table_a_table() -> None:
    text = render_markdown(report([row("1", "a|b`c\n| d |", "<b>*x*</b>")]), reveal=True)
    line = next(line for line in text.splitlines() if "changed |" in line)
    assert line.count("|") == 7
    assert "&#124;" in line
    assert "`'<b>*x*</b>'`" in line


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_null_and_the_empty_text_look_different_and_values_are_redacted(render: object) -> None:
    assert callable(render)
    found = report([row("1", None, ""), row("2", "secret", None)])
    for reveal in (False, True):
        text = render(found, reveal=reveal)
        assert "NULL" in text
        assert "''" in text or "&#x27;&#x27;" in text
        assert ("secret" in text) == reveal


def test_the_verdict_is_said_first() -> None:
    assert render_text(report([])).startswith("verification of orders, forward: equal\n")
    assert "1 difference\n" in render_text(report([row("1", "a", "b")]))
    assert "<h1>2 differences</h1>" in render_html(report([row("1", "a", "b")], truncated=1))
    assert "equal: no rows on either side" in render_markdown(report([], rows=0))


def test_a_page_of_many_large_differences_stays_under_a_megabyte() -> None:
    many = [row(str(n), "\U0001f600" * 5_000, "\U0001f601" * 5_000) for n in range(3_000)]
    text = render_html(report(many, truncated=77), reveal=True, limit=3_000)
    assert len(text.encode()) < 1_000_000
    shown = text.count("<details")
    assert 0 < shown < 3_000
    assert f"Shown: {shown:,} of 3,077 differences; {3_000 - shown:,} more in the JSON report; 77 beyond" in text


def test_a_page_of_many_tables_stays_under_a_megabyte() -> None:
    one = report([row(str(n), "x" * 300, "y" * 300) for n in range(40)]).tables
    whole = VerificationReport(
        context="orders", direction="reverse", position=1, started=0.0, seconds=1.0, tables=one * 200
    )
    assert len(render_html(whole, reveal=True, limit=10_000).encode()) < 1_000_000


@pytest.mark.parametrize("render", [render_text, render_markdown])
def test_what_is_left_out_is_said(render: object) -> None:
    assert callable(render)
    text = render(report([row(str(n), "a", "b") for n in range(30)], truncated=5), limit=10)
    assert "20 more in the JSON report; 5 beyond the number kept were only counted" in text


def test_the_part_that_differs_is_marked() -> None:
    text = render_html(report([row("1", "124900", "124901")]), reveal=True)
    assert "<code>12490<mark>0</mark></code>" in text
    long = render_html(report([row("1", "x" * 900 + "A" + "y" * 900, "x" * 900 + "B" + "y" * 900)]), reveal=True)
    assert f"<code>…{'x' * 80}<mark>B</mark>{'y' * 80}…</code>" in long
    assert re.search(
        r"<code>aa</code><td><code>aa<mark>a</mark></code>",
        render_html(report([row("1", "aa", "aaa")]), reveal=True),
    )


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    text = render_html(report([row("1", "a", "b")]))
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|@import|url\(|https?:", text)
    assert "prefers-color-scheme:dark" in text


def test_the_page_can_be_used_by_keyboard_and_read_aloud() -> None:
    kinds = [Difference(table="t", key=(str(kind),), kind=kind) for kind in DifferenceKind]
    page = Page(render_html(report(kinds)))
    names = [tag for tag, _ in page.tags]
    assert names.count("details") == names.count("summary") == len(kinds)
    radios = [attributes for tag, attributes in page.tags if tag == "input"]
    assert [radio["id"] for radio in radios] == ["only-all", *(f"only-{kind}" for kind in DifferenceKind)]
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    for kind in DifferenceKind:
        assert kind.label in page.text
        assert kind.explanation in page.text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_tables_and_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    found = report([row("17", "[bold]a", None), Difference(table="t", key=("18",), kind=DifferenceKind.MISSING)])
    terminal, pipe = Terminal(), io.StringIO()
    print_report(found, terminal, reveal=True)
    print_report(found, pipe, reveal=True)
    assert pipe.getvalue() == render_text(found, reveal=True)
    assert "\N{BOX DRAWINGS LIGHT HORIZONTAL}" in terminal.getvalue()
    for part in ("2 differences", "'[bold]a'", "NULL", "17", "18", "missing"):
        assert part in terminal.getvalue()


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    terminal = Terminal()
    print_report(report([row("1", "a", "b")]), terminal)
    assert terminal.getvalue() == render_text(report([row("1", "a", "b")]))
