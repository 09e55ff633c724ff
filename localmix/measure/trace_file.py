"""Traces of routing as files, for other programs: arrays (.npz) or a table with a row for each token (.parquet)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from localmix.errors import LocalmixError
from localmix.measure.aside import writing
from localmix.measure.routing import Trace
from localmix.tokenizer import Tokenizer

ENDINGS = (".npz", ".parquet")


def check(path: Path) -> None:
    """LocalmixError: such a file cannot be written."""
    if path.suffix.lower() not in ENDINGS:
        raise LocalmixError(f"{path}: expected a name that ends with {' or '.join(ENDINGS)}")
    if path.suffix.lower() == ".parquet":
        _pyarrow()


def write(path: Path, traces: Sequence[Trace], tokenizer: Tokenizer) -> None:
    """Every token's experts. LocalmixError: another ending than of ENDINGS, no pyarrow for Parquet, or the disk.

    An .npz has `texts` (their names), `layers` (L,), `experts`, and for each of all T tokens `text` (an index),
    `window`, `position`, `id` and `chosen` (T, L, A), the expert of most weight first. A .parquet has columns `text`
    (the name), `window`, `position`, `id`, `token` (its text) and `layer_3_choice_1`, layer 3's expert of most weight.
    """
    check(path)
    columns: dict[str, Any] = {
        "text": np.concatenate([np.full(len(t), i, np.int32) for i, t in enumerate(traces)]),
        "window": np.concatenate([t.windows for t in traces]),
        "position": np.concatenate([t.positions for t in traces]),
        "id": np.concatenate([t.ids for t in traces]),
    }
    chosen = np.concatenate([t.chosen for t in traces], axis=1).swapaxes(0, 1)  # (T, L, A)
    names, first = [t.name for t in traces], traces[0]
    with writing(path) as aside:
        if path.suffix.lower() == ".npz":
            more: dict[str, Any] = {
                "texts": np.array(names),
                "layers": np.array(first.layers, np.int32),
                "chosen": chosen,
            }
            more["experts"] = np.int32(first.experts)
            with aside.open("wb") as file:
                np.savez_compressed(file, **columns, **more)
            return
        columns["text"] = np.array(names)[columns["text"]]
        columns["token"] = [tokenizer.text(id) for id in columns["id"].tolist()]
        for i, layer in enumerate(first.layers):
            columns |= {f"layer_{layer}_choice_{a + 1}": chosen[:, i, a] for a in range(first.active)}
        _pyarrow().parquet.write_table(_pyarrow().table(columns), aside)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise LocalmixError(
            "a .parquet file needs pyarrow: pip install 'localmix[parquet]', or write an .npz"
        ) from None
    return pyarrow
