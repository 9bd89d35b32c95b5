"""The page of the analysis in a real browser: whole without a network, readable in light, dark and on a telephone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Page, sync_playwright

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


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_text_stands_out_from_its_ground_and_nothing_runs_over_the_edge(
    browser: Any, file: Path, scheme: str, width: int
) -> None:
    page = opened(browser, file, [], color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate(
        "() => { const style = getComputedStyle(document.body); return [style.color, style.backgroundColor] }"
    )
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 7
    assert (luminance(paper) > 0.5) == (scheme == "light")
    hot = page.evaluate("getComputedStyle(document.querySelector('svg.map a rect')).fill")
    empty = page.evaluate("getComputedStyle(document.querySelector('svg.map rect.none')).fill")
    assert hot != empty
    page.close()


def luminance(colour: str) -> float:
    """Of `rgb(r, g, b)`, as WCAG computes it."""
    parts = [int(each) / 255 for each in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
