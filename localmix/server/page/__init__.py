"""The page at `/`: a chat in one file, with everything that it needs inside. Its policy allows nothing else.

The parts are kept apart for reading: `page.html`, `page.css`, one script for each purpose, and what others wrote in
`vendored`, with its licences. They are put together once, when the server starts.
"""

import base64
import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

_SCRIPTS = ("vendored/markdown-it.js", "vendored/dompurify.js", "vendored/highlight.js", "vendored/htm-preact.js",
            "store.js", "client.js", "markdown.js", "routes.js", "settings.js", "page.js")  # fmt: skip


@dataclass(frozen=True)
class Page:
    plain: bytes
    packed: bytes  # by gzip
    policy: str


@lru_cache
def page() -> Page:
    """The page, and the policy that goes with it: the hashes of its own scripts and styles."""
    folder = resources.files(__name__)
    scripts = [folder.joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS]
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    body = "\n".join(f"<script>{script}</script>" for script in scripts)
    html = folder.joinpath("page.html").read_text(encoding="utf-8")
    plain = html.replace("/* style */", style).replace("<!-- scripts -->", body).encode()
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; "
        "connect-src 'self'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(plain, gzip.compress(plain, mtime=0), policy)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
