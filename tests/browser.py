"""A real browser for the tests of pages; a test that needs one skips with the reason where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@contextmanager
def browser(width: int = 1000, height: int = 900, dark: bool = False) -> Iterator[Chrome]:
    """Start Chromium without a screen; its windows are at least 500 wide, so a phone's width is emulated."""
    pytest.importorskip("selenium", reason="pages are tried in a browser through selenium")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        started.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield started
    finally:
        started.quit()


def complaints(page: Chrome) -> list[str]:
    """Return what the browser has complained of since the last call: errors of scripts, refused requests."""
    return [entry["message"] for entry in page.get_log("browser")]
