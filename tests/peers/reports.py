"""Reports in a real browser: no console error, no request, nothing wider than the window; a picture of each.

By hand, where Chromium and the playwright package are:

    python tests/peers/reports.py REPORT.html... --pictures FOLDER
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = {"wide": 1280, "narrow": 390}


def look(browser: object, report: Path, folder: Path, width: str, scheme: str) -> list[str]:
    """What is wrong with a report in one window."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": WIDTHS[width], "height": 900}, color_scheme=scheme)  # type: ignore[attr-defined]
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
    )
    began = time.perf_counter()
    page.goto(report.absolute().as_uri())
    page.wait_for_function("document.querySelectorAll('figure svg').length > 0 && document.querySelector('footer')")
    seconds = time.perf_counter() - began
    page.wait_for_timeout(300)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if overflow > 0:
        wrong.append(f"{overflow} pixels wider than the window")
    page.screenshot(path=folder / f"{report.stem}-{width}-{scheme}.png", full_page=True)
    page.close()
    print(f"{report.name} {width} {scheme}: {report.stat().st_size / 1e6:.2f} MB, {seconds:.2f} s, {wrong or 'fine'}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--pictures", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.pictures.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        found = [
            look(browser, report, arguments.pictures, width, scheme)
            for report in arguments.reports
            for width in WIDTHS
            for scheme in ("light", "dark")
        ]
        browser.close()
    sys.exit(any(found))


if __name__ == "__main__":
    main()
