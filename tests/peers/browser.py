"""The page in a headless Chromium, offline: python tests/peers/browser.py PORT FOLDER

Asks, edits, asks again, looks at the experts, wide and narrow, light and dark; any error in the console fails. Wants
playwright in the environment that runs it and a chromium on the path; pictures go to FOLDER, to be looked at.
"""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

URL, OUT = f"http://127.0.0.1:{sys.argv[1]}/", Path(sys.argv[2])


def ask(page: Page, text: str, answers: int) -> None:
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="again").nth(answers - 1).wait_for(timeout=60_000)


def main() -> None:
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, scheme in (("wide", 1200, "light"), ("narrow", 390, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
            page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "request",
                lambda sent: None if sent.url.startswith((URL, "data:", "blob:")) else problems.append(sent.url),
            )
            page.goto(URL)
            page.get_by_text(re.compile("Enter sends")).wait_for()
            ask(page, "Hello <img src=x onerror=alert(1)> **bold**", 1)
            ask(page, "Tell me a story about a cat", 2)
            page.get_by_role("button", name="show experts").last.click()
            page.locator(".routes .text span").nth(2).hover()
            page.screenshot(path=OUT / f"{name}.png")
            page.get_by_role("button", name="again").last.click()
            page.get_by_text("2/2").wait_for(timeout=60_000)
            page.get_by_role("button", name="again").last.wait_for(timeout=60_000)
            page.get_by_label("branch before").last.click()
            page.get_by_text("1/2").wait_for()
            page.get_by_role("button", name="edit").first.click()
            page.get_by_label("Edit the message").fill("Hi")
            page.get_by_role("button", name="send").first.click()
            page.get_by_text("2/2").first.wait_for(timeout=60_000)
            page.get_by_role("button", name="settings").click()
            page.get_by_label("System prompt").fill("Be kind")
            page.screenshot(path=OUT / f"{name}-settings.png")
            page.get_by_role("button", name="done").click()
            page.reload()
            if width < 700:
                page.get_by_label("conversations", exact=True).click()
            page.get_by_role("button", name=re.compile("^Hello")).wait_for()
            page.get_by_role("button", name=re.compile("^Hello")).click()
            page.locator("article").first.wait_for()
            page.screenshot(path=OUT / f"{name}-kept.png")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"
            page.close()
        browser.close()
    print("\n".join(problems) or "no error in the console, no request but to the server")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
