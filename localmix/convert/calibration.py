"""An importance matrix for a checkpoint: what the quantizers get of it, and what is to be said about it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmix.convert.checkpoint import Checkpoint
from localmix.errors import LocalmixError
from localmix.gguf.metadata import Writable
from localmix.measure import imatrix
from localmix.measure.imatrix import FEW, Imatrix
from localmix.store.fingerprint import fingerprint
from quant.format import Floats


@dataclass(frozen=True)
class Calibration:
    """`importance` by the tensor's name, (K,) or (E, K); `receipt` is for the file's metadata, `notes` for the user."""

    importance: dict[str, Floats]
    receipt: dict[str, Writable]
    notes: list[str]


def calibrated(checkpoint: Checkpoint, path: Path) -> Calibration:
    """What the importance matrix in the file `path` says about `checkpoint`.

    FileFormatError: it is damaged or no such file; LocalmixError: it was made for another model.
    """
    found = imatrix.read(path)
    shapes = {name: source.shape for name, source in checkpoint.tensors.items() if len(source.shape) > 1}
    importance = found.importance(shapes, path)
    if not importance:
        raise LocalmixError(f"{path}: names none of the tensors of {checkpoint.path}: it was made for another model")
    unseen = [name for name in shapes if name not in importance and "ffn_gate_inp" not in name]  # routers stay F32
    texts = ", ".join(found.datasets) or "an unnamed text"
    notes = [f"importance: {len(importance)} matrices, {found.tokens} tokens of {texts}", *rare_experts(found)]
    blank = {name: blank_experts(values) for name, values in importance.items()}
    for name, each in blank.items():
        if each and "ffn_down" in name and len(found.entries[name].counts) == 1:  # a .dat tells no tokens of experts
            notes.append(_unseen(name, each))
    if unseen:
        notes.append(f"importance: none for {', '.join(unseen)}, quantized without")
    said: dict[str, Writable] = {
        "text": texts,
        "tokens": found.tokens,
        "hash": fingerprint([path]),
        "matrices": len(importance),
        "experts_from_average": [
            f"{name} expert {e}" for name, each in found.rare().items() for e in each if e not in blank.get(name, ())
        ],
        "experts_without": [f"{name} expert {e}" for name, each in blank.items() for e in each],
    }
    counts = expert_counts(found, checkpoint)
    return Calibration(importance, said | ({"expert_tokens": counts} if counts.size else {}), notes)


def expert_counts(found: Imatrix, checkpoint: Checkpoint) -> NDArray[np.int32]:
    """Tokens that each expert saw, layer after layer: (L * E,), empty where the file has no counts of experts."""
    names = [name for name in checkpoint.tensors if "ffn_down_exps" in name and name in found.entries]
    counts = [found.entries[name].counts for name in names]
    return np.concatenate([np.empty(0), *(each for each in counts if len(each) > 1)]).astype(np.int32)


def blank_experts(importance: Floats) -> list[int]:
    """The experts of an importance (E, K) of which nothing is known."""
    return [] if importance.ndim < 2 else [int(e) for e in np.flatnonzero(~importance.any(axis=1))]


def rare_experts(found: Imatrix) -> list[str]:
    """What to say about experts that saw few tokens or none, a line or two a layer."""
    lines = []
    for name, rare in found.rare().items():
        if "ffn_down" not in name:  # gate and up see the same tokens
            continue
        few = {expert: tokens for expert, tokens in rare.items() if tokens}
        if none := [expert for expert in rare if expert not in few]:
            lines.append(_unseen(name, none))
        if few:
            each = ", ".join(f"{expert} ({tokens} tokens)" for expert, tokens in few.items())
            layer = name.partition(".ffn")[0]
            lines.append(f"{layer}: fewer than {FEW} tokens for experts {each}: they get the layer's average")
    return lines


def _unseen(name: str, experts: list[int]) -> str:
    each = ", ".join(map(str, experts))
    return f"{name.partition('.ffn')[0]}: no tokens for experts {each}: quantized without importance"
