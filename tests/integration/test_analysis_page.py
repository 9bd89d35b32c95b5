"""The page of the analysis in a real browser: whole without a network, readable in light, dark and on a telephone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Page, sync_playwright

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.plan import pairs_of, plan_of
from migration_tools.analysis.record_sheet import sheet_of
from migration_tools.analysis.render_html import render_html
from migration_tools.analysis.report import Analysis, ContextFacts, Verdict
from migration_tools.analysis.system_of_record import systems_of_record
from migration_tools.playbook.registry import load
from migration_tools.reports import render_html as sheets
from migration_tools.state.phase import Phase
from tests.console.legible import unreadable
from tests.unit.test_cut_plan import finding

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "cut.html"
    call_command("strangle_analyze", "--no-database", "--format", "html", "--output", str(path), verbosity=0)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Any, file: Path, requests: list[str], **options: Any) -> Page:
    page: Page = browser.new_page(**options)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    return page


def test_the_heat_map_leads_from_a_cell_to_the_places_of_its_pair(browser: Any, file: Path) -> None:
    requests: list[str] = []
    page = opened(browser, file, requests)
    assert requests == [file.as_uri()]
    assert file.stat().st_size < 1_000_000
    cell = page.locator("svg.map a", has=page.locator("title", has_text="orders depends on accounts"))
    assert cell.count() == 1
    target = (cell.get_attribute("href") or "").removeprefix("#")
    section = page.locator(f"details#{target}")
    assert section.locator("li").first.is_hidden()
    section.locator("summary").click()
    assert "legacy_monolith/orders/models.py:22" in section.inner_text()
    assert "SFA101" in section.inner_text()
    page.close()


@pytest.fixture(scope="module")
def files(file: Path) -> dict[str, Path]:
    """The shop's page, that of a project of forty contexts with long names, and that of the systems of record."""
    found = {"shop": file, "many": file.with_name("many.html"), "writers": file.with_name("writers.html")}
    found["many"].write_text(render_html(many()))
    records = list(systems_of_record(load_contexts(), load(), {"orders": Phase.CUTOVER}))
    found["writers"].write_text(sheets.render_html(sheet_of(records, "2026-11-30")))
    return found


def many() -> Analysis:
    """Forty contexts, each coupled to nine others at every cost from the least to the most."""
    names = [f"customer_relationship_management_{number}" for number in range(40)]
    found = [
        finding("SFA101", name, names[(place + step) % 40], tables=("t",), detail={"key": str(key)})
        for place, name in enumerate(names) for step in range(1, 10) for key in range(step * step)
    ]  # fmt: skip
    contexts = tuple(ContextFacts(name=name, tables=(f"{name}_t",), rows=10**8, bytes=10**12) for name in names)
    pairs = pairs_of(found)
    return Analysis(
        project="many", made_at="now", contexts=contexts, findings=tuple(found), plan=plan_of(found, names),
        pairs=pairs, clusters=(tuple(names[:20]), tuple(names[20:])), sources=("code",),
        verdict=Verdict(answer="cut", first=names[0], reasons=("because",)),
    )  # fmt: skip


@pytest.mark.parametrize("which", ["shop", "many", "writers"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_text_stands_out_from_its_ground_and_nothing_runs_over_the_edge(
    browser: Any, files: dict[str, Path], which: str, scheme: str, width: int
) -> None:
    page = opened(browser, files[which], [], color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate(
        "() => { const style = getComputedStyle(document.body); return [style.color, style.backgroundColor] }"
    )
    assert contrast(luminance(ink), luminance(paper)) > 7
    assert (luminance(paper) > 0.5) == (scheme == "light")
    assert unreadable(page) == []
    if which != "writers":
        hot = page.evaluate("getComputedStyle(document.querySelector('svg.map a rect')).fill")
        empty = page.evaluate("getComputedStyle(document.querySelector('svg.map rect.none')).fill")
        assert hot != empty
    page.close()


FIGURES = """() => [...document.querySelectorAll('svg.map a')].map(cell => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d');
    const drawn = element => {
        canvas.fillStyle = getComputedStyle(element).fill;
        canvas.fillRect(0, 0, 1, 1);
        return 'rgb(' + [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).join(', ') + ')';
    };
    const text = cell.querySelector('text');
    return [drawn(text), drawn(cell.querySelector('rect')), text.getBoundingClientRect().height];
})"""


@pytest.mark.parametrize("which", ["shop", "many"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_every_figure_of_the_map_can_be_read_on_its_heat_at_its_size(
    browser: Any, files: dict[str, Path], which: str, scheme: str, width: int
) -> None:
    page = opened(browser, files[which], [], color_scheme=scheme, viewport={"width": width, "height": 800})
    figures = page.evaluate(FIGURES)
    assert len(figures) > 8
    for text, heat, height in figures:
        assert contrast(luminance(text), luminance(heat)) >= 4.5, (text, heat)
        assert height >= 10
    labels = page.evaluate("[...document.querySelectorAll('svg.map text')].map(each => each.lastChild.data.length)")
    assert max(labels) <= 26
    page.close()


def contrast(one: float, other: float) -> float:
    """WCAG's ratio of two luminances."""
    light, dark = sorted((one, other), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Of `rgb(r, g, b)`, as WCAG computes it."""
    parts = [int(each) / 255 for each in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
