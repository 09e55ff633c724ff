"""Which experts served an answer, as a picture: a column for each layer, a row for each expert."""

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from localmix.cli.terminal.markdown import wrap
from localmix.cli.terminal.themes import Theme

_LEVELS = (0.125, 0.75, 1.25, 2.0)  # times the share that each would have by chance: where the next shade begins


class Choices:
    """Collects what a `Context` tells its watch."""

    def __init__(self) -> None:
        self._passes: list[NDArray[np.int32]] = []

    def __call__(self, chosen: NDArray[np.int32]) -> None:
        self._passes.append(chosen.copy())  # (L, T, A)

    def forget(self) -> None:
        self._passes.clear()

    def counts(self, experts: int) -> NDArray[np.int64]:
        """How many tokens each expert served in each layer (L, E); empty where nothing was seen."""
        if not self._passes or not experts:
            return np.zeros((0, experts), np.int64)
        chosen = np.concatenate(self._passes, axis=1)  # (L, T, A)
        return np.stack([np.bincount(layer.ravel(), minlength=experts) for layer in chosen])


def picture(counts: NDArray[np.int64], active: int, columns: int, theme: Theme) -> list[Text]:
    """The lines that show counts (L, E), in as many stripes of layers as `columns` need."""
    layers, experts = counts.shape
    tokens = int(counts[0].sum()) // active
    share = counts / tokens  # (L, E) of the tokens
    shades = np.searchsorted(_LEVELS, share / (active / experts), side="right")  # (L, E)
    title = f"{tokens} tokens, {active} of {experts} experts each; columns are layers, rows are experts"
    room = max(columns - 1, 1)
    found = wrap(theme.styled(title, "quiet"), room)
    label = len(str(experts - 1)) + 1
    wide = 2 if label + 2 * layers < columns else 1
    stripe = max((columns - label - 1) // wide, 1)
    for first in range(0, layers, stripe):
        last = min(first + stripe, layers)
        found += [Text(), theme.styled(" " * label + _ruler(first, last, wide), "quiet")]
        for expert in range(experts):
            cells = "".join(theme.shades[shades[layer, expert]] * wide for layer in range(first, last))
            found.append(theme.styled(f"{expert:>{label - 1}} ", "quiet") + theme.styled(cells.rstrip(), "code"))
    layer, expert = (int(i) for i in np.unravel_index(int(share.argmax()), share.shape))
    legend = ", ".join(f"{theme.shades[i]} {name}" for i, name in ((1, "less"), (2, "its share"), (3, "more")))
    found.append(Text())
    for line in (
        f"{legend}, {theme.shades[4]} twice and more; blank: hardly ever",
        f"busiest: expert {expert} in layer {layer}, {share.max():.0%} of the tokens",
    ):
        found += wrap(theme.styled(line, "quiet"), room)
    return found


def _ruler(first: int, last: int, wide: int) -> str:
    """Every fifth layer's number above its column."""
    row = ""
    for layer in range(first, last):
        if layer % 5 == 0:
            row = row.ljust((layer - first) * wide) + str(layer)
    return row
