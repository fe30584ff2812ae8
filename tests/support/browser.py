"""A headless Chromium that looks at files on this machine, and tells of every request and every complaint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage"),
)


class Browser:
    """A page on the screen."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1280, dark: bool = False, reduced: bool = True) -> None:
        """Show a file at a width, for a reader who prefers light or dark colours, and pages that keep still."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"},
        ]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.driver.get(path.as_uri())
        assert self.js("return document.documentElement.dataset.ready") == "yes", self.complaints()

    def command(self, name: str, **options: Any) -> dict[str, Any]:
        """A command of the browser's own protocol."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(name, options)
        return answer

    def js(self, code: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(code, *arguments)

    def one(self, selector: str) -> WebElement:
        """The first element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Every element of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What the first element says, hidden or not."""
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def choose(self, field: str, text: str) -> None:
        """Choose from a list by what the option says, or starts with."""
        done = self.js(
            "const s = document.querySelector(arguments[0]);"
            "const at = (test) => [...s.options].find((option) => test(option.text));"
            "const o = at((text) => text === arguments[1]) || at((text) => text.startsWith(arguments[1]));"
            "if (!o) return false; s.value = o.value; s.dispatchEvent(new Event('change')); return true;",
            field,
            text,
        )
        assert done, f"{field} does not offer {text!r}"

    def slide(self, selector: str, value: float) -> None:
        """Move a slider."""
        self.js(
            "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('input'))",
            selector,
            value,
        )

    def complaints(self) -> list[str]:
        """What the console says, and forget it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last time."""
        told = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with a fresh profile; nothing is downloaded for it."""
    binary = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.fail("these tests look at the report with Chromium; install it, e.g. apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = Chrome(options=options, service=Service(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()
