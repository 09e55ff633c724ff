"""What a converted file says about how it came to be, in its own metadata.

What is known before the work goes in as it is. What is measured on the finished file gets room there (numbers that
are not numbers yet, and a text of spaces) and is patched in place afterwards.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from localmix import __version__
from localmix.convert.checkpoint import Checkpoint
from localmix.gguf import Reserved, patch
from localmix.gguf.metadata import Writable
from localmix.store.hub_cache import title

PREFIX = "localmix.receipt."
MEASURED = PREFIX + "measured."
FIGURES = ("perplexity", "source_perplexity", "kl_mean", "kl_median", "kl_p99", "top1_agreement", "router_agreement")
TEXT_ROOM = 160  # bytes for what was measured on


def receipt(
    checkpoint: Checkpoint, recipe: str, calibration: Mapping[str, Writable] | None = None, measure: bool = False
) -> dict[str, Writable]:
    """The metadata. `calibration`: what is to be said about an importance; `measure`: leave room for `fill_in`.

    `source_hash` is a fingerprint: sizes, beginnings and samples of the files (see `localmix.store.fingerprint`).
    """
    found: dict[str, Writable] = {
        PREFIX + "version": __version__,
        PREFIX + "source": title(checkpoint.path),
        PREFIX + "source_hash": checkpoint.fingerprint(),
        PREFIX + "recipe": recipe,
    }
    found |= {f"{PREFIX}calibration.{key}": value for key, value in (calibration or {}).items()}
    if measure:
        found[MEASURED + "text"] = Reserved(TEXT_ROOM)
        figures = FIGURES if checkpoint.model.experts else FIGURES[:-1]  # there is no router
        found |= {MEASURED + key: np.float32(np.nan) for key in figures}
    return found


def fill_in(path: Path, text: str, figures: Mapping[str, float]) -> None:
    """Patch what was measured on `text` into the file: `figures` by the names in FIGURES that the receipt has."""
    said = text.encode()[:TEXT_ROOM].decode(errors="ignore")
    patch(path, {MEASURED + "text": said} | {MEASURED + key: np.float32(value) for key, value in figures.items()})


def read_receipt(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt in a file's metadata, without the prefix; None for what was never measured."""
    found = {key.removeprefix(PREFIX): value for key, value in metadata.items() if key.startswith(PREFIX)}
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.rstrip() or None
    return None if isinstance(value, float) and math.isnan(value) else value
