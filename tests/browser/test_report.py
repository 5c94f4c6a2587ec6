"""The report in headless Chromium, with the network cut off: no error, everything there, at desktop and phone width."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tramtrack.report.page import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: the Debian package chromium")
STUDY_FOLDER = Path(__file__).parents[1] / "unit" / "report" / "study_folder.py"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def _study_folder() -> ModuleType:
    name = "fabricated_study_folder"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, STUDY_FOLDER)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a fabricated study."""
    return write_report(*_study_folder().fabricate(tmp_path_factory.mktemp("study"), crossed=True).arguments())


class Visit:
    """One opened report: the page, every address that it asked for, and everything that went wrong."""

    def __init__(self, browser: sync_api.Browser, report: Path, size: dict[str, int]) -> None:
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.context = browser.new_context(viewport=size, offline=True)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url[:80]}"))
        self.page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        self.page.goto(report.as_uri())
        self.page.wait_for_load_state("load")


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def visit(request: pytest.FixtureRequest, browser: sync_api.Browser, report: Path) -> Iterator[Visit]:
    """The report opened offline at one width."""
    visit = Visit(browser, report, request.param)
    yield visit
    visit.context.close()


def test_opens_offline_without_a_problem(visit: Visit, report: Path) -> None:
    assert visit.problems == []
    assert visit.requests[0] == report.as_uri()
    assert all(url == report.as_uri() or url.startswith("data:") for url in visit.requests)
    assert visit.page.title() == f"{report.parents[1].name}: report (synthetic)"


def test_comparison_table_is_there(visit: Visit) -> None:
    table = visit.page.locator("table#comparison")
    assert table.is_visible()
    names = [" ".join(text.split()) for text in table.locator("tbody th[scope=row]").all_inner_texts()]
    assert names == ["VGG16", "MobileNetV2 then on <dogs>", "Xception random weights"]
    assert table.locator("tbody td.num").count() == 12
    assert all("(" in text and " to " in text for text in table.locator("tbody td.num").all_inner_texts())


def test_figures_are_drawn(visit: Visit) -> None:
    for place, count in (("#roc", 2), ("#calibration", 7), ("#training", 3), ("#resources", 4)):
        drawn = visit.page.locator(f"{place} figure svg[role=img]")
        assert drawn.count() == count, place
        for index in range(count):
            box = drawn.nth(index).bounding_box()
            assert box is not None and box["width"] > 150 and box["height"] > 100
            assert drawn.nth(index).get_attribute("aria-label")
            assert drawn.nth(index).locator("path").count() > 2
    assert {"VGG16", "MobileNetV2", "chance"} <= set(visit.page.locator("#roc svg").first.locator("text").all_text_contents())


def test_heat_maps_are_pictures(visit: Visit) -> None:
    images = visit.page.locator("#heatmaps img")
    cases = visit.page.locator("#heatmaps article").count()
    assert cases > 0 and images.count() == 4 * cases
    assert all(width > 0 for width in images.evaluate_all("all => all.map(image => image.naturalWidth)"))
    assert all(images.evaluate_all("all => all.map(image => image.alt)"))


def test_page_does_not_scroll_sideways(visit: Visit) -> None:
    visit.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    scroll, width = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert scroll <= width
    escaped = """width => [...document.querySelectorAll('main *')].filter(part => !part.closest('.scroll, svg') &&
        part.getBoundingClientRect().right > width + 1).map(part => part.outerHTML.slice(0, 80))"""
    assert visit.page.evaluate(escaped, width) == []


def test_synthetic_stamp_is_seen(visit: Visit) -> None:
    assert visit.page.locator("[data-stamp=synthetic]").is_visible()
    visit.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    band = visit.page.locator(".band").bounding_box()
    assert band is not None and band["y"] == 0


def test_heat_map_enlarges_and_closes_by_keyboard(visit: Visit) -> None:
    visit.page.locator("button.enlarge").first.focus()
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#lightbox img").is_visible()
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("#lightbox").is_visible()
    assert visit.problems == []


def test_structure_is_accessible(visit: Visit) -> None:
    levels = visit.page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(title => +title.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    tables = visit.page.locator("table")
    assert visit.page.locator("table > caption").count() == tables.count()
    assert visit.page.locator("thead th:not([scope])").count() == 0
    ids = visit.page.evaluate("[...document.querySelectorAll('[id]')].map(part => part.id)")
    assert len(ids) == len(set(ids))
    links = visit.page.evaluate("[...document.querySelectorAll('nav a')].map(link => link.getAttribute('href').slice(1))")
    assert links and set(links) <= set(ids)


def test_everything_is_open_in_print(browser: sync_api.Browser, report: Path) -> None:
    visit = Visit(browser, report, DESKTOP)
    visit.page.emulate_media(media="print")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.locator("details:not([open])").count() == 0
    assert visit.page.locator("table#protocol").is_visible() and not visit.page.locator("nav").is_visible()
    visit.context.close()
