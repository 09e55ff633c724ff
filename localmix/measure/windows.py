"""Text as windows of tokens, for what reads a model's numbers rather than its answers.

As llama.cpp cuts it: consecutive pieces of one size, a BOS in the place of each one's first token, what is left over
dropped. The second half of a window is scored: those tokens have at least half a context before them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from localmix.engine.batch import CHUNK, Batch
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Window:
    """Tokens that are computed together; the logits of row `first` are the first that are scored, on the next id."""

    ids: Sequence[int]
    first: int

    def __len__(self) -> int:
        return len(self.ids)


class Pass(NamedTuple):
    """What one forward pass computes: `targets` (W,) are the ids that follow the batch's wanted rows, if any do."""

    batch: Batch
    targets: NDArray[np.int64]


def read_text(path: Path) -> str:
    """The text in a file. LocalmixError: there is none, or it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be read: {error.strerror}; expected a text file") from None
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        raise LocalmixError(f"{path}: found {found}, expected UTF-8 text: convert it with iconv") from None


def cut(tokenizer: "Tokenizer", text: str, context: int, most: int | None = None) -> list[Window]:
    """The windows of `context` tokens that a text fills, at most `most` of them. LocalmixError: it fills none."""
    if context < 2:
        raise LocalmixError(f"a context of {context} tokens: expected 2 or more, the last of them is predicted")
    ids = tokenizer.encode(text, eos=False)
    count = len(ids) // context
    if not count:
        found = f"the text has {len(ids)} tokens"
        raise LocalmixError(f"{found}: expected at least the {context} of one window: give a longer one, or lower -c")
    pieces = [ids[i * context : (i + 1) * context] for i in range(min(count, most or count))]
    if tokenizer.add_bos and tokenizer.bos is not None:
        for piece in pieces:
            piece[0] = tokenizer.bos
    return [Window(piece, context // 2) for piece in pieces]


def whole(tokenizer: "Tokenizer", text: str, context: int, most: int | None = None) -> tuple[list[Window], int]:
    """Every token of a text in windows of `context` tokens, the last one shorter, and how many ids lead each: BOS.

    Nothing is scored. LocalmixError: the text is empty.
    """
    if context < 2:
        raise LocalmixError(f"a context of {context} tokens: expected 2 or more, the first of them may be a BOS")
    lead = [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos is not None else []
    ids = tokenizer.encode(text, bos=False)
    if not ids:
        raise LocalmixError("the text is empty: expected some words")
    size = context - len(lead)
    pieces = [lead + ids[at : at + size] for at in range(0, len(ids), size)]
    return [Window(piece, len(piece)) for piece in pieces[:most]], len(lead)


def documents(tokenizer: "Tokenizer", texts: Iterable[str], context: int) -> list[Window]:
    """A window for each text, cut off at `context` tokens and scored from its beginning on."""
    encoded = (tokenizer.encode(text, eos=False)[:context] for text in texts)
    return [Window(ids, 0) for ids in encoded if len(ids) > 1]


def passes(windows: Iterable[Window], cache: Any) -> Iterator[Pass]:
    """The passes over all windows, each with room in `cache`, to be run and committed before the next is asked for."""
    sequences: list[int] = []  # of the windows under way
    for parts in _grouped(windows):
        sequences += [cache.new() for _, at, _ in parts if at == 0]
        yield _pass(parts, sequences)
        window, at, ids = parts[-1]
        while sequences and at + len(ids) == len(window):
            cache.free(sequences.pop())


_Part = tuple[Window, int, Sequence[int]]  # of a window, from where on, which ids


def _grouped(windows: Iterable[Window]) -> Iterator[list[_Part]]:
    """Parts of at most CHUNK tokens together: whole windows, or consecutive pieces of one that is longer."""
    waiting: list[_Part] = []
    for window in windows:
        if waiting and sum(len(ids) for _, _, ids in waiting) + len(window) > CHUNK:
            yield waiting
            waiting = []
        if len(window) <= CHUNK:
            waiting.append((window, 0, window.ids))
        else:
            yield from ([(window, at, window.ids[at : at + CHUNK])] for at in range(0, len(window), CHUNK))
    if waiting:
        yield waiting


def _pass(parts: list[_Part], sequences: list[int]) -> Pass:
    batch = Batch.of([(sequence, at, ids) for sequence, (_, at, ids) in zip(sequences, parts, strict=True)])
    rows, targets = [], []
    for span, (window, at, ids) in zip(batch.spans, parts, strict=True):
        scored = range(max(window.first, at), min(at + len(ids), len(window) - 1))
        rows += [span.row + i - at for i in scored]
        targets += [window.ids[i + 1] for i in scored]
    if rows:  # else those of the last token are computed for nothing
        batch = replace(batch, wanted=np.array(rows, np.int32))
    return Pass(batch, np.array(targets, np.int64))
