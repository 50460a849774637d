"""Take the picture of the demonstration page: docs/figures/demo.png.

    python scripts/screenshot_demo.py --models demo-output --output docs/figures/demo.png

Needs `pip install -e ".[demo,browser]"` and Debian's packages chromium and chromium-driver. The page is
filled with an invented patient; no record of a person is ever in the picture. The tests of the page
(tests/demo/) drive it by the functions of this file.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "demo" / "app.py"
WAIT_SECONDS = 60  # a busy machine is slow
# Chromium itself asks hosts of its makers unless it is told not to.
_NOWHERE = "http://127.0.0.1:9/"
_UNWANTED_FEATURES = (
    "AutofillServerCommunication",
    "MediaRouter",
    "NavigationPredictor",
    "NetworkTimeServiceQuerying",
    "OptimizationGuideModelDownloading",
    "OptimizationHints",
    "PreconnectToSearch",
    "PrefetchProxy",
    "SearchPrefetch",
    "Translate",
)
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-pings",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-component-extensions-with-background-pages",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-domain-reliability",
    f"--disable-features={','.join(_UNWANTED_FEATURES)}",
    f"--component-updater=url-source={_NOWHERE}",
    f"--gaia-url={_NOWHERE}",
    f"--google-apis-url={_NOWHERE}",
    "--force-color-profile=srgb",
)


def browser_programs() -> tuple[str, str] | None:
    """Find chromium and its driver; None if either is missing."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    return found if all(found) else None  # type: ignore[return-value]


@contextmanager
def served_page(command: Sequence[str], log: Path) -> Iterator[str]:
    """Start the page in a process of its own.

    Args:
        command (`Sequence[str]`): words that start it; it prints the address in its last line.
        log (`Path`): where all its output goes.

    Yields:
        The address.
    """
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if "http://" in line]
        if lines:
            return lines[-1].split()[-1]
        time.sleep(0.2)
    raise RuntimeError(f"the page did not start:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def headless_chromium(width: int = 1280, height: int = 1600, proxy: str | None = None) -> Iterator[Chrome]:
    """Open a browser without a screen and with a new profile.

    Args:
        width, height (`int`): of its window.
        proxy (`str`, *optional*): `host:port` through which everything goes that is not on this machine.

    Yields:
        The browser; `requested_addresses` reads from it what pages asked for.
    """
    chromium, driver = browser_programs() or ("chromium", "chromedriver")
    options = ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        switches = [*SWITCHES, f"--window-size={width},{height}", f"--user-data-dir={profile}"]
        if proxy is not None:
            switches.append(f"--proxy-server=http://{proxy}")
        for switch in switches:
            options.add_argument(switch)
        browser = Chrome(options=options, service=Service(driver))
        try:
            yield browser
        finally:
            browser.quit()


def wait_for(browser: Chrome, condition: Any) -> Any:
    """Wait until a function of the browser returns something that is true, and return it."""
    return WebDriverWait(browser, WAIT_SECONDS, ignored_exceptions=(Exception,)).until(condition)


def click(browser: Chrome, element_id: str) -> None:
    """Click an element as soon as it can be."""
    selector = f"#{element_id}" if element_id != "predict" else "#predict"
    button = wait_for(browser, lambda b: b.find_element(By.CSS_SELECTOR, selector))
    wait_for(browser, lambda b: button.is_displayed() and button.is_enabled())
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()


def fill_example(browser: Chrome, number: int = 1) -> None:
    """Fill in an invented patient."""
    click(browser, f"example-{number}")
    wait_for(browser, lambda b: note_of(b))


def note_of(browser: Chrome) -> str:
    """Read the note that stands in the page."""
    return browser.find_element(By.CSS_SELECTOR, "#note textarea").get_property("value")


def main() -> None:
    """Fill the page, press the button, take the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["demo-output"])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "figures" / "demo.png")
    parser.add_argument("--example", type=int, default=1, help="which invented patient")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(APP), "--port", "0", "--models", *options.models]
        with served_page(command, Path(folder, "log")) as address, headless_chromium() as browser:
            browser.get(address)
            fill_example(browser, options.example)
            click(browser, "predict")
            wait_for(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#answer .answer"))
            time.sleep(1)  # until nothing fades any more
            height = browser.execute_script("return document.documentElement.scrollHeight")
            browser.set_window_size(1280, height + 150)
            browser.execute_script("window.scrollTo(0, 0); document.activeElement.blur()")
            time.sleep(1)
            taken = Path(folder, "demo.png")
            browser.save_screenshot(str(taken))
            save_small(taken, options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def save_small(taken: Path, output: Path) -> None:
    """Write a picture in few colours, which is enough for a page and a fifth of the bytes."""
    with Image.open(taken) as picture:
        picture.convert("RGB").quantize(128).save(output, optimize=True)


if __name__ == "__main__":
    main()
