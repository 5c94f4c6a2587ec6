"""The blind page in headless Chromium, with the network cut off: rated by keyboard and mouse, closed, gone on with, saved."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import blind_study
from tramtrack import store
from tramtrack.explain.ratings import COLUMNS, read_ratings

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: the Debian package chromium")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a blind page of two views and three networks."""
    folder = tmp_path_factory.mktemp("blind")
    blind_study.page(folder, count=2)
    return folder


@pytest.fixture
def context(browser: sync_api.Browser) -> Iterator[sync_api.BrowserContext]:
    """A browser's profile, offline."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    yield context
    context.close()


def visit(context: sync_api.BrowserContext, study: Path) -> tuple[sync_api.Page, list[str]]:
    """The page, and everything that goes wrong on it or is asked for."""
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    address = (study / "blind" / "page.html").as_uri()
    page.on(
        "request",
        lambda request: problems.append(request.url) if not request.url.startswith(("data:", "blob:", address)) else None,
    )
    page.goto(address)
    return page, problems


def begin(page: sync_api.Page, reader: str) -> None:
    page.keyboard.press("Tab")
    page.locator("#reader").fill(reader)
    page.keyboard.press("Enter")


def saved(page: sync_api.Page, button: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.locator(button).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_a_reader_rates_by_keyboard_closes_the_page_goes_on_and_saves(
    context: sync_api.BrowserContext, study: Path, tmp_path: Path
) -> None:
    page, problems = visit(context, study)
    begin(page, "A. Müller")
    for key in ("1", "p", "n"):
        page.keyboard.press(key)
    page.keyboard.press("Backspace")  # change the third
    assert page.locator("button[aria-pressed=true][data-rating=no]").is_visible()
    page.keyboard.press("2")
    assert page.locator("#count").inner_text() == "3 of 12 rated" and problems == []
    page.close()

    page, problems = visit(context, study)
    page.get_by_role("button", name="Go on as A. Müller (3 of 12)").click()
    assert page.locator("#question").inner_text() == "Does the map localise the calcifications?"
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
    assert page.locator("#question").inner_text() == "Which map is finer?"
    assert page.locator("#pictures figcaption").all_inner_texts() == ["Left", "View", "Right"]
    for key in ("ArrowLeft", "ArrowDown", "ArrowRight", "1", "2", "3"):
        page.keyboard.press(key)
    assert page.locator("#h-done").is_visible() and page.locator("#count").inner_text() == "12 of 12 rated"
    path = saved(page, "#download", tmp_path)
    assert problems == [] and path.name == "ratings-A-M-ller.csv"
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    key = store.read_json(study / "blind" / "key.json")["information"]
    table = read_ratings([path], key)
    assert list(table["item"]) == [one["item"] for one in key["items"]] and set(table["reader"]) == {"A. Müller"}
    assert list(table["rating"]) == [
        "yes", "partly", "partly", "yes", "partly", "no", "left", "same", "right", "left", "same", "right",
    ]  # fmt: skip


def test_another_reader_begins_anew_and_rates_by_mouse(context: sync_api.BrowserContext, study: Path, tmp_path: Path) -> None:
    page, problems = visit(context, study)
    begin(page, "=1+1")
    assert page.locator("#start").is_visible()  # no name
    begin(page, "Ω первый")
    page.keyboard.press("1")
    page.reload()
    begin(page, "second")
    assert page.locator("#count").inner_text() == "0 of 12 rated"
    page.get_by_role("button", name="Partly").click()
    page.keyboard.press("3")
    table = read_ratings([saved(page, "#save", tmp_path)], store.read_json(study / "blind" / "key.json")["information"])
    assert list(table["rating"]) == ["partly", "no"] and set(table["reader"]) == {"second"} and problems == []


def test_space_shows_the_bare_view_while_it_is_held(context: sync_api.BrowserContext, study: Path) -> None:
    page, _ = visit(context, study)
    begin(page, "reader")
    sources = "[...document.querySelectorAll('#pictures img')].map(image => image.src)"
    view, heat = page.evaluate(sources)
    page.keyboard.down(" ")
    assert page.evaluate(sources) == [view, view] and view != heat
    page.keyboard.up(" ")
    assert page.evaluate(sources) == [view, heat]
    assert page.locator("#count").inner_text() == "0 of 12 rated"
    page.locator("#hide").click()
    assert page.evaluate(sources) == [view, view]
    page.keyboard.press(" ")  # on the button: the same by keyboard
    assert page.evaluate(sources) == [view, heat]
    page.locator("#hide").click()
    page.keyboard.press("1")
    assert page.evaluate(sources)[0] != page.evaluate(sources)[1]  # the next map is shown
    page.keyboard.press("z")
    assert page.locator("#zoom[aria-pressed=true]").count() == 1


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_structure_is_accessible_and_nothing_scrolls_sideways(
    browser: sync_api.Browser, study: Path, size: tuple[int, int]
) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, offline=True)
    page, problems = visit(context, study)
    for part in ("start", "reading"):
        if part == "reading":
            begin(page, "reader")
            assert all(page.locator("#pictures img").evaluate_all("all => all.map(image => image.alt && image.naturalWidth)"))
            bottom = page.locator(".answers").bounding_box()
            assert (bottom is not None and bottom["y"] + bottom["height"] <= size[1]) or part == "start"
        scroll, width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert scroll <= width, part
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2')].filter(one => one.offsetParent).map(one => +one.tagName[1])"
        )
        assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.locator("button:not([type]):not(.main)").count() == 0 and page.locator("[data-stamp=synthetic]").is_visible()
    names = page.locator(".answers button").all_inner_texts()
    assert all(name.strip() for name in names) and len(names) == 3
    assert problems == []
    context.close()
