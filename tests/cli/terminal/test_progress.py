import pytest
from rich.text import Text

from localmix.cli.terminal import progress, themes

THEME = themes.Theme({"quiet": ""}, True)


def test_the_bar_moves_between_reports_and_tells_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    bar = progress.Bar(lambda line: None, lambda: 80, THEME)
    bar(0, 2048)
    assert bar.line(101).plain == "reading 0 of 2,048 tokens ░░░░░░░░░░░░░░░░░░░░░░░░"  # nobody knows how fast
    now = 104.0
    bar(512, 2048)
    assert bar.line(104).plain == "reading 512 of 2,048 tokens ██████░░░░░░░░░░░░░░░░░░ 12 s left"
    assert bar.line(106).plain == "reading 768 of 2,048 tokens █████████░░░░░░░░░░░░░░░ 10 s left"
    assert "reading 1,024 of" in bar.line(1000).plain  # no more than is being computed
    now = 2000.0
    bar(1024, 2048)
    assert "31 min 40 s left" in bar.line(2000).plain
    bar.end()


def test_a_narrow_window_and_short_prompts() -> None:
    drawn: list[Text] = []
    bar = progress.Bar(drawn.append, lambda: 20, THEME)
    bar(0, 100)
    assert bar.line(0).cell_len <= 19
    bar(100, 100)
    bar.end()
    assert drawn == []  # it was over before anyone could read it
