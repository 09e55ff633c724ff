"""Checkpoints of others to GGUF, quantized on the way, in bounded memory.

`open_checkpoint` finds out what a source is and reads its headers, `make_plan` decides on formats and sizes,
`check` looks at every weight, `write` does the work. To add a kind of source: a module with
`read(path) -> Checkpoint`, and a line below.
"""

from pathlib import Path

from localmix.convert import from_gguf, huggingface, mistral, schemes
from localmix.convert.calibration import Calibration, calibrated
from localmix.convert.checkpoint import Checkpoint
from localmix.convert.layout import LAYOUTS, for_streaming
from localmix.convert.measure import Measurement
from localmix.convert.plan import Plan, make_plan
from localmix.convert.receipt import receipt
from localmix.convert.stream import check, write
from localmix.errors import FileFormatError
from localmix.store.hub_cache import snapshot

__all__ = [
    "LAYOUTS",
    "Calibration",
    "Checkpoint",
    "Measurement",
    "Plan",
    "calibrated",
    "check",
    "for_streaming",
    "make_plan",
    "open_checkpoint",
    "receipt",
    "write",
]


def open_checkpoint(path: Path, allow_requantize: bool = False) -> Checkpoint:
    """The checkpoint at `path`: a folder of Hugging Face's or Mistral's, or a GGUF file.

    FileFormatError, UnsupportedError: no such thing, damaged, or not supported; found before any weight is read.
    """
    path = snapshot(path)
    if not path.is_dir():
        return from_gguf.read(path, allow_requantize)
    schemes.refuse_adapter(path)
    if (path / "config.json").is_file():
        return huggingface.read(path)
    if (path / "params.json").is_file():
        return mistral.read(path)
    raise FileFormatError(f"{path}: not a checkpoint: expected config.json (Hugging Face) or params.json (Mistral)")
