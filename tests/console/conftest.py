"""One scene and one Chromium for all tests of the console; screenshots go to var/screenshots, which CI keeps."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.conftest import ROOT, Cluster, cloned_pair, recreate
from tests.console.scene import MOVER, PASSWORD, Scene, scene

SCREENSHOTS = ROOT / "var" / "screenshots"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"laptop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A headless browser that goes nowhere but to this machine."""
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's loop stands still while a test runs, but Django sees that there is one.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shop(
    chromium: Any,
    cluster: Cluster,
    templates: tuple[str, str],
    django_db_blocker: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """The running shop."""
    log = tmp_path_factory.mktemp("console") / "servers.log"
    with cloned_pair(cluster, templates, django_db_blocker) as pair:
        annex = f"annex_of_{pair.orders}"
        recreate(cluster, annex, owner="orders_owner", template=templates[1])
        try:
            with scene(pair, annex, log) as made:
                yield made
        finally:
            with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(annex)))


@pytest.fixture
def visit(shop: Scene, chromium: Any) -> Iterator[Any]:
    """Open pages as somebody, at a size, in a scheme; errors but those `told`, and refused requests, fail the test."""
    contexts: list[Any] = []
    faults: list[str] = []

    def as_(who: str = MOVER, size: str = "laptop", scheme: str = "light", *, told: str = "$^", **options: Any) -> Any:
        width, height = SIZES[size]
        context = chromium.new_context(
            base_url=shop.url,
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            device_scale_factor=2 if size == "phone" else 1,
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda said: None if _expected(said) or re.search(told, said.text) else faults.append(said.text)
        )
        page.on(
            "request", lambda asked: None if asked.url.startswith(shop.url) else faults.append(f"asked {asked.url}")
        )
        page.goto("/login/?next=/strangle/console/")
        page.fill("[name=username]", who)
        page.fill("[name=password]", PASSWORD)
        page.click("button[type=submit], form button")
        page.wait_for_url("**/strangle/console/**")
        return page

    yield as_
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def photograph(request: pytest.FixtureRequest) -> Any:
    """Keep what a page looks like, whole."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def take(page: Any, name: str) -> Path:
        path: Path = SCREENSHOTS / f"{name}.png"
        page.screenshot(path=str(path), full_page=True)
        return path

    return take


def _expected(said: Any) -> bool:
    """The shop's own pages have no icon, which every browser asks for; a form that was filled in wrongly is a 422."""
    icon = str(said.location.get("url", "")).endswith("/favicon.ico")
    return said.type != "error" or icon or "status of 422" in said.text
