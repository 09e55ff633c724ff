import numpy as np
from small_models import DATA

from localmix.cli.terminal import experts, themes

THEME = themes.Theme(dict.fromkeys(("code", "quiet"), ""), True)


def test_counts_are_by_layer_and_expert() -> None:
    choices = experts.Choices()
    assert choices.counts(4).size == 0
    choices(np.array([[[0, 1]], [[2, 3]]], np.int32))  # 2 layers, 1 token, 2 of 4
    choices(np.array([[[0, 2], [0, 1]], [[2, 3], [2, 0]]], np.int32))
    assert choices.counts(4).tolist() == [[3, 2, 1, 0], [1, 0, 3, 2]]
    choices.forget()
    assert choices.counts(4).size == 0


def test_the_picture() -> None:
    """32 layers as Mixtral's: expert 3 serves every token of layer 7, the others share evenly."""
    counts = np.full((32, 8), 100)
    counts[7] = [57, 57, 57, 400, 57, 57, 57, 58]
    counts[12, :4], counts[12, 4:] = 0, 200
    lines = [line.plain for line in experts.picture(counts, 2, 80, THEME)]
    assert "\n".join(lines) + "\n" == (DATA / "screens" / "experts-80.txt").read_text()
    assert lines[-1] == "busiest: expert 3 in layer 7, 100% of the tokens"


def test_a_narrow_window_has_stripes() -> None:
    lines = [line.plain for line in experts.picture(np.full((32, 8), 5), 2, 14, THEME)]
    assert sum(line.startswith("7 ") for line in lines) == 3
    assert max(map(len, lines)) <= 14
