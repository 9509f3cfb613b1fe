"""A report in a real browser: nothing is loaded or complained of, its controls work, it fits a phone and paper.

Takes Debian's chromium and chromium-driver, and selenium; skipped where one of them is missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from reporting.runs_to_show import write_grid
from rnntrain.reporting.report import write_report

selenium = pytest.importorskip("selenium.webdriver")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not BROWSER or not DRIVER, reason="no chromium and chromedriver here")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of the page of one run and that of several."""
    folder = tmp_path_factory.mktemp("reports")
    grid = write_grid(folder / "grid")
    write_report([grid / "lr0.01-seed0"], folder / "one.html", None, None)
    write_report([grid], folder / "several.html", None, None)
    return {name: (folder / f"{name}.html").as_uri() for name in ("one", "several")}


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(started: Any) -> Any:
    """A browser of a desk's width in daylight."""
    show(started, 1280, light=True)
    return started


def show(browser: Any, width: int, *, light: bool, media: str = "screen") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "light" if light else "dark"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})


def run(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return {script}")


@pytest.mark.parametrize("name", ["one", "several"])
def test_nothing_is_requested_nothing_complained_of_and_nothing_of_a_run_is_run(browser, pages, name: str) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(pages[name])
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert pages[name] in asked
    assert all(url == pages[name] or url.startswith("data:") for url in asked)
    assert browser.get_log("browser") == []
    assert run(browser, "window.attacked") is None


@pytest.mark.parametrize("name", ["one", "several"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_is_wider_than_its_window(browser, pages, name: str, width: int) -> None:
    show(browser, width, light=True)
    browser.get(pages[name])
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert run(browser, "document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("name", ["one", "several"])
def test_text_stands_out_from_what_it_stands_on(browser, pages, name: str, light: bool) -> None:
    """By the contrast of WCAG 2.2, of which 4.5 is asked for text, and 3 for lines."""
    show(browser, 1280, light=light)
    browser.get(pages[name])
    paper, card, ink, muted, accent, *lines = run(
        browser,
        "['--paper', '--card', '--ink', '--muted', '--accent', '--s0', '--s1', '--s2', '--s3', '--s4', '--s5', '--s7']"
        ".map((name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim())",
    )
    assert run(browser, "getComputedStyle(document.body).backgroundColor") == "rgb({}, {}, {})".format(*channels(paper))
    assert (luminance(paper) > 0.5) is light
    assert min(contrast(text, behind) for text in (ink, muted, accent) for behind in (paper, card)) >= 4.5
    assert min(contrast(line, card) for line in lines) >= 3


def channels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def luminance(colour: str) -> float:
    parts = (value / 255 for value in channels(colour))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_on_paper_there_are_no_controls_and_the_paper_is_white(browser, pages) -> None:
    show(browser, 1000, light=False, media="print")
    browser.get(pages["one"])
    assert run(browser, "getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = (
        "[...document.querySelectorAll('nav, .controls')].every((each) => getComputedStyle(each).display === 'none')"
    )
    assert run(browser, hidden)
    assert len(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 10_000


_TABLE = "[...document.querySelectorAll('table')].find((each) => each.caption.textContent === {caption!r})"


def column(browser: Any, caption: str, number: int) -> list[str]:
    table = _TABLE.format(caption=caption)
    return run(browser, f"[...{table}.tBodies[0].rows].map((row) => row.cells[{number}].textContent)")


def press(browser: Any, caption: str, heading: str) -> str:
    """Press a heading of a table; return how it then says that the table is sorted."""
    heads = f"[...{_TABLE.format(caption=caption)}.tHead.rows[0].cells]"
    head = f"{heads}.find((each) => each.textContent === {heading!r})"
    return run(browser, f"((head) => (head.querySelector('button').click(), head.getAttribute('aria-sort')))({head})")


def test_a_heading_sorts_by_numbers_up_and_down(browser, pages) -> None:
    browser.get(pages["several"])
    assert press(browser, "Every run", "test/f1") == "ascending"
    values = [float(text) for text in column(browser, "Every run", 3)]
    assert values == sorted(values)
    assert len(set(values)) > 3
    assert press(browser, "Every run", "test/f1") == "descending"
    assert [float(text) for text in column(browser, "Every run", 3)] == values[::-1]
    assert press(browser, "test/f1 by configuration", "lr") == "ascending"
    assert column(browser, "test/f1 by configuration", 1) == ["0.01", "0.1"]
    assert press(browser, "test/f1 by configuration", "lr") == "descending"
    assert column(browser, "test/f1 by configuration", 1) == ["0.1", "0.01"]


def test_smoothing_draws_a_line_that_bends_less_and_zero_takes_it_away(browser, pages) -> None:
    browser.get(pages["one"])
    slide = (
        "((value) => { const slider = document.querySelector('[data-smoothing]'); slider.value = value;"
        " slider.dispatchEvent(new Event('input')); const raw = document.querySelector('polyline[data-smooth]');"
        " return [raw.getAttribute('points'), raw.nextSibling.getAttribute('points'),"
        " getComputedStyle(raw.nextSibling).display, document.getElementById('smoothing').textContent]; })"
    )
    raw, soft, display, label = run(browser, f"{slide}('0.9')")
    assert (display, label) == ("inline", "0.9")
    heights = [[float(point.split(",")[1]) for point in points.split()] for points in (raw, soft)]
    spans = [max(each) - min(each) for each in heights]
    assert spans[1] < 0.9 * spans[0]
    assert run(browser, f"{slide}('0')")[2] == "none"


def test_texts_are_on_a_slider_that_begins_at_the_last(browser, pages) -> None:
    browser.get(pages["one"])
    shown = "[...document.querySelectorAll('.over-time > div')].filter((d) => !d.hidden).map((d) => d.textContent)"
    [last] = run(browser, shown)
    assert "Ada 90" in last
    move = "const s = document.querySelector('h3 + .controls input'); s.value = 0; s.dispatchEvent(new Event('input'));"
    browser.execute_script(move)
    [first] = run(browser, shown)
    assert "Ada 10" in first


SHOWN_FRAME = (
    "[...document.querySelectorAll('.film figure')].filter((f) => getComputedStyle(f).display !== 'none')"
    ".map((f) => f.textContent)"
)


def test_arrow_keys_go_through_a_picture_over_time_without_a_script(browser, pages) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(pages["one"])
        chosen = browser.find_element("css selector", ".film input:checked")
        assert run(browser, SHOWN_FRAME) == ["the end"]
        chosen.send_keys("\ue012")  # left
        assert run(browser, SHOWN_FRAME) == ["step 90"]
        browser.find_element("css selector", ".film input:checked").send_keys("\ue012\ue012")
        assert run(browser, SHOWN_FRAME) == ["step 10"]
        browser.execute_script("arguments[0].click()", browser.find_element("xpath", "//label[text()='50']"))
        assert run(browser, SHOWN_FRAME) == ["step 50"]
        outline = "getComputedStyle(document.querySelector('.film input:checked + label')).outlineStyle"
        browser.find_element("css selector", ".film input:checked").send_keys("\ue014")
        assert run(browser, outline) == "solid"
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_all_moments_stand_side_by_side_with_their_steps(browser, pages) -> None:
    show(browser, 1000, light=True, media="print")
    browser.get(pages["one"])
    assert run(browser, SHOWN_FRAME) == ["step 10", "step 50", "step 90", "the end"]
    captions = "[...document.querySelectorAll('.film figcaption')].every((f) => f.getBoundingClientRect().height > 0)"
    assert run(browser, captions)
    assert run(browser, "getComputedStyle(document.querySelector('.film label')).display") == "none"


def test_values_are_read_off_under_the_pointer(browser, pages) -> None:
    browser.get(pages["one"])
    told = run(
        browser,
        "(() => { const svg = document.querySelector('.chart > svg[data-x]'), box = svg.getBoundingClientRect();"
        " svg.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + box.width * 370 / 380,"
        " clientY: box.top + 50 })); return svg.nextSibling.textContent; })()",
    )
    assert told.startswith("at 100: train/loss 0.1")
    assert "val/loss 0.24" in told
