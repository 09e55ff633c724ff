"""What the scripts here measure quantized files on: documents in two halves that share none, and KL divergence.

The text is plain, one document a paragraph block, or a JSON list of texts or of rows that end in one, whose request
(the item before, if it is text) is put before it as the bundled model was trained.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import localmix
from localmix import convert
from localmix.measure import perplexity, windows
from localmix.measure.windows import Window
from localmix.model import Model
from quant.format import Floats
from quant.recipe import RECIPES

CONTEXT = 512


def documents(path: Path) -> tuple[list[str], list[str]]:
    """Every other document: to calibrate on, and to measure on."""
    text = windows.read_text(path)
    found = [document(row) for row in json.loads(text)] if path.suffix == ".json" else text.split("\n\n")
    return found[::2], found[1::2]


def document(row: Any) -> str:
    if isinstance(row, str):
        return row
    return f"[INST] {row[-2]} [/INST]{row[-1]}" if isinstance(row[-2], str) and row[-2] else str(row[-1])


class Bench:
    """Files made from one checkpoint, measured against its F16 file on the same windows."""

    def __init__(self, checkpoint: Path, texts: list[str], tokens: int, folder: Path, threads: int) -> None:
        self.checkpoint = convert.open_checkpoint(checkpoint)
        self.folder, self.threads = folder, threads
        self.base = localmix.load(self.write("F16"), threads=threads)
        self.windows = first(windows.documents(self.base.tokenizer, texts, CONTEXT), tokens)

    def write(self, recipe: str, importance: Mapping[str, Floats] | None = None) -> Path:
        """The file of a recipe."""
        path = self.folder / f"{recipe}{'.calibrated' if importance else ''}.gguf"
        return self.write_plan(convert.make_plan(self.checkpoint, RECIPES[recipe], importance=importance), path)

    def write_plan(self, plan: convert.Plan, path: Path) -> Path:
        convert.write(plan, path, self.threads)
        return path

    def compare(self, path: Path) -> perplexity.Comparison:
        """The file beside F16."""
        model: Model = localmix.load(path, threads=self.threads)
        return perplexity.compare(model, self.base, self.windows)


def first(found: list[Window], tokens: int) -> list[Window]:
    """The first windows that together have about so many tokens."""
    ends = np.cumsum([len(window) for window in found])
    return found[: int(np.searchsorted(ends, tokens)) + 1]
