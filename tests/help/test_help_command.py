"""`localmix help`: pages, other names of theirs, words on them, and what is neither."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from command_line import ROOT, Terminal, localmix

from localmix import help as pages
from localmix.cli.help import text_for
from localmix.errors import LocalmixError


def test_without_a_topic_all_are_listed() -> None:
    done = localmix("help")
    assert done.returncode == 0, done.stderr
    for topic in pages.TOPICS:
        assert f"| {topic} | {pages.title(topic)} |" in done.stdout


@pytest.mark.parametrize(
    ("asked", "topic"), [("settings", "settings"), ("Faq", "faq"), ("quant", "quantize"), ("routes", "measure")]
)
def test_a_topic_is_found_by_its_name_its_beginning_and_other_words(asked: str, topic: str) -> None:
    assert text_for(asked) == pages.page(topic)
    assert "<!--" not in pages.page(topic)


def test_a_slip_of_the_keys_is_the_nearest_topic() -> None:
    assert text_for("setings").endswith(pages.page("settings"))


def test_words_are_found_on_every_page() -> None:
    text = text_for("COLORFGBG")
    assert "`localmix help settings`" in text
    assert "Environment variables: " in text
    assert all("resume" in hit.line.lower() and "latest" in hit.line.lower() for hit in pages.search("latest Resume"))
    assert "more lines have it" in text_for("the")


def test_what_is_nowhere_is_refused_with_the_nearest_topic() -> None:
    done = localmix("help", "xyzzy")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "not a topic, and on no page: did you mean " in done.stderr
    with pytest.raises(LocalmixError, match="did you mean"):
        text_for("quux")


def test_a_terminal_is_shown_a_screen_at_a_time(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("help", "settings", PAGER="head -3")
    assert screen.end() == 0
    assert "Settings: " in screen.seen
    assert "`" not in screen.seen
    assert "COLORFGBG" not in screen.seen
    for pager in ("", "no-such-pager", "cat"):
        screen = terminal("help", "settings", PAGER=pager, NO_COLOR="1")
        assert screen.end() == 0
        assert "COLORFGBG" in screen.seen


def test_neither_numba_nor_mlx_nor_numpy_is_loaded() -> None:
    program = (
        "import sys; sys.argv = ['localmix', 'help', 'settings']; from localmix.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'numba', 'mlx', 'numpy', 'llvmlite', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr.splitlines()[-1] == "[]"
