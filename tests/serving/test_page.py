"""The page of a served model, in a real browser: typed, dropped, read, on a phone and in the dark."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import browser, complaints
from commandline import environment

Runs = dict[str, Path]


@contextmanager
def page_of(run: Path, **look: Any) -> Iterator[Any]:
    """Open the page of a run that is served by a process of its own."""
    with browser(**look) as page:
        command = [sys.executable, "-m", "rnntrain", "serve", str(run), "--port", "0", "threads=1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
            try:
                assert process.stdout is not None
                found = re.search(r"http://[\d.:]+", process.stdout.readline())
                assert found is not None
                page.get(found[0])
                until(page, lambda: page.execute_script("return document.body.dataset.ready") == "yes")
                yield page
            finally:
                process.kill()


def until(page: Any, holds: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, 30).until(lambda _: holds())


def text_of(page: Any, place: str) -> str:
    return str(page.find_element("id", place).text)


def test_a_prompt_is_gone_on_from(served_runs: Runs) -> None:
    with page_of(served_runs["writes"]) as page:
        page.find_element("id", "prompt").send_keys("the sea")
        page.find_element("id", "write").click()
        until(page, lambda: page.find_element("id", "write").is_enabled())
        until(page, lambda: len(text_of(page, "written")) > 150)
        assert text_of(page, "written").startswith("the sea")
        first = text_of(page, "written")
        page.find_element("id", "write").click()
        until(page, lambda: page.find_element("id", "write").is_enabled() and text_of(page, "written") == first)
        page.find_element("id", "prompt").send_keys(" 漢")
        page.find_element("id", "write").click()
        until(page, lambda: "漢" in text_of(page, "error"))
        assert [said for said in complaints(page) if "422" not in said] == []


def test_a_text_is_classified_and_markup_stays_text(served_runs: Runs) -> None:
    with page_of(served_runs["classifies"], width=360, dark=True) as page:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        page.find_element("id", "typed").send_keys("good <b onclick=alert(1)>day</b>")
        page.find_element("css selector", "#typing button").click()
        until(page, lambda: len(page.find_elements("css selector", ".bar")) == 2)
        assert {"yes", "no"} <= set(text_of(page, "answer").split())
        background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", background))) < 60
        assert complaints(page) == []


def test_a_table_is_dropped_and_its_forecast_drawn(served_runs: Runs) -> None:
    with page_of(served_runs["forecasts"], width=360) as page:
        page.find_element("id", "file").send_keys(str(served_runs["forecasts"].parent / "hours.csv"))
        until(page, lambda: page.find_elements("css selector", "#answer svg path"))
        assert len(page.find_elements("css selector", "#answer tr")) == 1 + 6
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        page.execute_script("document.getElementById('horizon').value = 9")
        page.execute_script("document.getElementById('horizon').dispatchEvent(new Event('change'))")
        until(page, lambda: len(page.find_elements("css selector", "#answer tr")) == 1 + 9)
        assert complaints(page) == []


@pytest.mark.parametrize("width", [360, 1000])
def test_every_field_has_its_name(served_runs: Runs, width: int) -> None:
    with page_of(served_runs["writes"], width=width) as page:
        unnamed = page.execute_script(
            "return [...document.querySelectorAll('input, textarea')].filter(field => !field.labels.length).length"
        )
        assert unnamed == 0
        assert complaints(page) == []
