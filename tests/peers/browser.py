"""The page in a headless Chromium, offline: python tests/peers/browser.py PORT FOLDER [ADDRESS]

Asks, edits, asks again, looks at the experts, stops, is refused, brings a conversation, by mouse and by keyboard, wide
and narrow, light and dark; any error in the console fails. Wants playwright in the environment that runs it and a
chromium on the path; pictures go to FOLDER, to be looked at. ADDRESS: of the server, if not this machine's loopback.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

URL, OUT = f"http://{(sys.argv[3:] or ['127.0.0.1'])[0]}:{sys.argv[1]}/", Path(sys.argv[2])
REFUSED = "status of 400"  # what a browser says of a request that is meant to be refused
TEXT = """Two ways, **side by side**, see [the page](https://example.org):

| call | costs |
|---|--:|
| `sorted(x)` | n log n |
| `max(x)` | n |

```python
def largest(numbers: list[int]) -> int:
    \"\"\"The largest of `numbers`.\"\"\"
    return max(numbers)  # one look at each
```

1. first
2. second, with <script>alert(1)</script> as text
"""
NODES = [
    {"id": "1", "parent": None, "role": "user", "content": "How do I find the largest number?", "made": 1},
    {"id": "2", "parent": "1", "role": "assistant", "content": TEXT, "thought": "Sorting is too much.", "made": 2,
     "stats": {"answer": 90, "prompt": 20, "cached": 16, "rate": 31.5}, "reason": "stop", "tokens": []},
]  # fmt: skip
BROUGHT = [{"id": "brought", "title": "largest", "changed": 1, "leaf": "2", "nodes": {one["id"]: one for one in NODES}}]


def ask(page: Page, text: str, answers: int) -> None:
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="again").nth(answers - 1).wait_for(timeout=60_000)


def choose(page: Page, name: str, value: str) -> None:
    page.get_by_role("button", name="settings").click()
    page.get_by_label(name).fill(value)
    page.get_by_role("button", name="done").click()


def by_keyboard(page: Page) -> None:
    """A new chat, an answer that is stopped, one that is refused."""
    choose(page, "Most tokens", "")
    page.keyboard.press("Control+Shift+O")
    page.get_by_text(re.compile("Enter sends")).wait_for()
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("/")
    page.keyboard.type("Write a very long story about the sea and all its fish")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="stop").wait_for()
    page.locator("article.assistant .markdown p").first.wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("stopped", exact=True).wait_for()
    choose(page, "Temperature", "500")
    page.get_by_label("Message").fill("Hot")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "temp" in page.get_by_role("alert").inner_text()


def bring(page: Page, narrow: bool) -> None:
    """A conversation from a file, and away with another."""
    page.get_by_role("button", name="settings").click()
    file = {"name": "talks.json", "mimeType": "application/json", "buffer": json.dumps(BROUGHT).encode()}
    page.get_by_label("import").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="done").click()
    if narrow:
        page.get_by_label("conversations", exact=True).click()
    page.get_by_label("Search conversations").fill("largest")
    page.get_by_role("button", name="largest").click()
    page.get_by_text("thinking").click()
    page.locator("pre button").click()
    page.get_by_text("copied").wait_for()


def remove(page: Page, narrow: bool) -> None:
    if narrow:
        page.get_by_label("conversations", exact=True).click()
    page.get_by_label("Search conversations").fill("")
    before = page.locator("aside li").count()
    page.get_by_label("delete", exact=True).last.click()
    page.get_by_label("delete for good").click()
    page.wait_for_function(f"document.querySelectorAll('aside li').length === {before - 1}")


def main() -> None:
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, scheme in (("wide", 1200, "light"), ("narrow", 390, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
            page.on("console", lambda said: said.type in ("error", "warning") and REFUSED not in said.text
                    and problems.append(said.text))  # fmt: skip
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "request",
                lambda sent: None if sent.url.startswith((URL, "data:", "blob:")) else problems.append(sent.url),
            )
            page.goto(URL)
            page.get_by_text(re.compile("Enter sends")).wait_for()
            page.get_by_text(re.compile("^stories|Q4|gguf")).first.wait_for()
            page.screenshot(path=OUT / f"{name}-empty.png")
            choose(page, "Most tokens", "90")
            ask(page, "Hello <img src=x onerror=alert(1)> **bold**", 1)
            ask(page, "Tell me a story about a cat", 2)
            page.get_by_role("button", name="show experts").last.click()
            page.locator(".routes .text span").nth(2).hover()
            assert "0: " in page.locator(".routes .shown").inner_text()
            page.get_by_label("layer 1", exact=True).click()
            page.screenshot(path=OUT / f"{name}.png")
            page.get_by_role("button", name="again").last.click()
            page.get_by_text("2/2").wait_for(timeout=60_000)
            page.get_by_role("button", name="again").last.wait_for(timeout=60_000)
            shares = page.get_by_text(re.compile("% from the cache")).all_inner_texts()
            assert any(not one.endswith(", 0 % from the cache") for one in shares), shares
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
            by_keyboard(page)
            page.screenshot(path=OUT / f"{name}-refused.png")
            bring(page, width < 700)
            page.screenshot(path=OUT / f"{name}-brought.png")
            remove(page, width < 700)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"
            page.close()
        browser.close()
    print("\n".join(problems) or "no error in the console, no request but to the server")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
