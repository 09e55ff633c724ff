import io
import sys

import pytest

from localmix.cli.terminal import themes
from localmix.errors import LocalmixError

# The sixteen colours as xterm has them; most terminals are close.
RGB = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (205, 0, 0), "bright_red": (255, 0, 0),
       "cyan": (0, 205, 205), "blue": (0, 0, 238), "magenta": (205, 0, 205)}  # fmt: skip
GROUNDS = {"dark": ["black"], "light": ["white"], "either": ["black", "white"], "mono": []}


def contrast(one: str, other: str) -> float:
    """As the guidelines for readable text have it (WCAG 2.1)."""

    def luminance(name: str) -> float:
        parts = [c / 255 for c in RGB[name]]
        r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", themes.COLOURS)
def test_colours_are_read_on_their_grounds(name: str) -> None:
    for colour in themes.COLOURS[name].values():
        for ground in GROUNDS[name]:
            assert contrast(colour, ground) >= 3.0, (name, colour, ground)


@pytest.mark.parametrize(
    ("told", "code"),
    [("15;0", "cyan"), ("0;15", "blue"), ("0;default;15", "blue"), ("", "magenta"), ("x;99", "magenta")],
)
def test_the_terminal_tells_its_background(monkeypatch: pytest.MonkeyPatch, told: str, code: str) -> None:
    monkeypatch.setenv("COLORFGBG", told)
    assert themes.choose().styles["code"] == code
    assert themes.choose("light").styles["code"] == "blue"
    assert themes.choose("mono").styles["code"] == ""
    with pytest.raises(LocalmixError, match="expected one of auto, dark"):
        themes.choose("pink")


@pytest.mark.parametrize(("encoding", "bullet"), [("utf-8", "•"), ("latin-1", "*"), ("ascii", "*")])
def test_signs_are_those_that_can_be_shown(monkeypatch: pytest.MonkeyPatch, encoding: str, bullet: str) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    theme = themes.choose()
    assert theme.sign("bullet") == bullet
    (theme.shades + theme.sign("full")).encode(encoding)
