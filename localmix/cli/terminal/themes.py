"""How things look: colours for a dark, a light or an unknown background, and signs that the terminal can show.

Only the terminal's own sixteen colours are used, so that its user's palette counts. NO_COLOR takes colours away
and leaves bold and italics; TERM=dumb takes away everything.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from localmix.errors import LocalmixError

NAMES = ("auto", "dark", "light", "mono")
# What each colour must be read on: tests measure the contrast with the usual palette.
COLOURS = {
    "dark": {"code": "cyan", "error": "bright_red"},
    "light": {"code": "blue", "error": "red"},
    "either": {"code": "magenta", "error": "red"},
    "mono": {"code": "", "error": ""},
}
_ATTRIBUTES = {
    "heading": "bold",
    "strong": "bold",
    "em": "italic",
    "s": "strike",
    "code": "",
    "quiet": "dim",
    "quote": "italic",
    "error": "bold",
}
_SIGNS = {"bullet": "•*", "rule": "─-", "dot": "·-", "full": "█#", "empty": "░."}
_SHADES = (" ░▒▓█", " .:*#")


@dataclass(frozen=True)
class Theme:
    """Styles by what they are for, as rich names them."""

    styles: Mapping[str, str]
    unicode: bool

    def sign(self, name: str) -> str:
        """A sign, or what stands for it in ASCII."""
        return _SIGNS[name][0 if self.unicode else 1]

    @property
    def shades(self) -> str:
        """Five signs, from empty to full."""
        return _SHADES[0 if self.unicode else 1]

    def styled(self, text: str, name: str) -> Text:
        return Text(text, self.styles[name])


def choose(name: str = "auto") -> Theme:
    """The theme called `name`; auto looks at $COLORFGBG, and without it takes colours that are read on any ground."""
    if name not in NAMES:
        raise LocalmixError(f"theme = {name!r}: expected one of {', '.join(NAMES)}")
    colours = COLOURS[_background() if name == "auto" else name]
    styles = {key: f"{attribute} {colours.get(key, '')}".strip() for key, attribute in _ATTRIBUTES.items()}
    return Theme(styles, _shows("".join(sign[0] for sign in _SIGNS.values()) + _SHADES[0]))


def console() -> Console:
    """Turns styled text into the codes of this terminal; the size is given with each call."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, legacy_windows=False)


def _background() -> str:
    """What the terminal says of its background: "foreground;background" among sixteen colours."""
    last = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    if not last.isdecimal() or int(last) > 15:
        return "either"
    return "dark" if int(last) in (*range(7), 8) else "light"


def _shows(signs: str) -> bool:
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
