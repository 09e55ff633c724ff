"""The pages of `localmix help`, a Markdown file a topic, beside this one: finds pages and words, draws nothing."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localmix.errors import LocalmixError

TOPICS = ("start", "models", "chat", "settings", "batch", "structured", "quantize", "measure",
          "gpu", "serve", "library", "faq", "inside", "options")  # fmt: skip
"""In the order in which they are listed."""
# Where what people look for by the name of a command, or by another word, is told.
ALSO = {
    **dict.fromkeys(("run", "install"), "start"),
    **dict.fromkeys(("pull", "list", "rm", "doctor", "info", "families", "memory"), "models"),
    **dict.fromkeys(("config", "environment", "sampling"), "settings"),
    **dict.fromkeys(("schema", "json", "grammar"), "structured"),
    **dict.fromkeys(("calibrate", "imatrix"), "quantize"),
    **dict.fromkeys(("bench", "perplexity", "quality", "eval", "passkey", "routes"), "measure"),
    **dict.fromkeys(("mlx", "apple", "nvidia"), "gpu"),
    **dict.fromkeys(("server", "openai"), "serve"),
    **dict.fromkeys(("python", "api"), "library"),
    **dict.fromkeys(("map", "code"), "inside"),
}
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)
_CLOSE = 0.7  # how much of a word must be right for it to be a slip


@dataclass(frozen=True)
class Hit:
    """A line that has a word: its topic, the heading above it, and the line."""

    topic: str
    section: str
    line: str


def page(topic: str) -> str:
    """A page's Markdown, without what is said to those who edit it."""
    return _COMMENT.sub("", (Path(__file__).parent / f"{topic}.md").read_text(encoding="utf-8"))


def title(topic: str) -> str:
    """A page's first heading."""
    return page(topic).partition("\n")[0].removeprefix("# ")


def topic(text: str) -> str | None:
    """The topic that a word names: in full, by another name, by its beginning, or with a slip of the keys."""
    name = text.lower()
    if name in TOPICS or name in ALSO:
        return ALSO.get(name, name)
    begun = [one for one in TOPICS if one.startswith(name)]
    return begun[0] if len(begun) == 1 else None


def search(text: str) -> list[Hit]:
    """The lines of all pages that have every word of `text`, whatever the case."""
    words = text.lower().split()
    return [hit for one in TOPICS for hit in _lines(one) if all(word in hit.line.lower() for word in words)]


def unknown(text: str) -> LocalmixError:
    """For what is neither a topic nor on any page: the nearest topic."""
    names = [*TOPICS, *ALSO]
    near = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0)[0]
    return LocalmixError(f"{text}: not a topic, and on no page: did you mean {near}? localmix help lists all")


def slip(text: str) -> str | None:
    """The topic that a word is nearly the name of."""
    near = difflib.get_close_matches(text.lower(), TOPICS, n=1, cutoff=_CLOSE)
    return near[0] if near else None


def _lines(topic: str) -> Iterator[Hit]:
    section = ""
    for line in page(topic).splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif set(line) - set("|-: `"):
            yield Hit(topic, section, line.strip())
