"""Reports as one HTML file that needs nothing else: no network, no other file, no server.

A page carries its data as JSON, the libraries that draw, and its own script; what the script shows is in `NAME.js`.
"""

import json
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from localmix.measure.aside import writing

LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def write(path: Path, name: str, title: str, data: dict[str, Any]) -> None:
    """Write the page that `NAME.js` draws of `data`. LocalmixError: the disk."""
    with writing(path) as aside:
        aside.write_text(page(name, title, data), encoding="utf-8")


def page(name: str, title: str, data: dict[str, Any]) -> str:
    """The text of the page."""
    scripts = "".join(f"<script>{_asset(script)}</script>\n" for script in (*LIBRARIES, "page.js", f"{name}.js"))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<!-- D3 and Observable Plot inside:\n{_asset('vendor/LICENSES.txt')}-->\n"
        f"<style>\n{_asset('page.css')}</style>\n<main></main>\n"
        f'<script type="application/json" id="data">{_embedded(data)}</script>\n{scripts}</html>\n'
    )


def _embedded(data: dict[str, Any]) -> str:
    """JSON in which nothing ends or begins an element, whatever a text says."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "replace").decode()


def _asset(name: str) -> str:
    return resources.files("localmix.report").joinpath(name).read_text(encoding="utf-8")
