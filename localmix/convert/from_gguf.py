"""GGUF files as a source: to other formats, and old ones with a tensor an expert to merged ones."""

import re
from collections.abc import Iterable
from pathlib import Path

from localmix import gguf, network
from localmix.convert.checkpoint import Checkpoint, Source
from localmix.convert.matrix import Mapped, Matrix
from localmix.convert.rearranged import Stack
from localmix.errors import FileFormatError, UnsupportedError
from localmix.gguf import shards
from quant.recipe import Model

FULL = ("f32", "f16", "bf16", "mxfp4")  # the last: gpt-oss is trained in it, and so it stays
SINGLE = re.compile(r"(blk\.\d+\.ffn_(?:gate|up|down))\.(\d+)\.weight")
OF_THE_FILE = re.compile(r"split\.|general\.(alignment|file_type|quantization_version)$|localmix\.receipt")


def read(path: Path, allow_requantize: bool) -> Checkpoint:
    """The model in a GGUF file. UnsupportedError: it is already quantized, and that was not allowed.

    FileFormatError: its shapes are not those that its metadata speak of.
    """
    file = gguf.open(path)
    network.load(file)  # what cannot be run is not converted: names and shapes are checked there
    quantized = sorted({t.format.name for t in file.tensors.values() if t.format.name not in FULL})
    if quantized and not allow_requantize:
        raise UnsupportedError(
            f"{path}: is already quantized ({', '.join(quantized)}): quantize the original, "
            "or accept the loss of rounding twice with --allow-requantize"
        )
    prefix = str(file.metadata.get("general.architecture"))
    layers = file.metadata.get(f"{prefix}.block_count")
    if not isinstance(layers, int):
        raise FileFormatError(f"{path}: metadata key {prefix}.block_count is {layers!r}, expected a number")
    experts = int(file.metadata.get(f"{prefix}.expert_count", 0))
    metadata = {key: value for key, value in file.typed_metadata.items() if not OF_THE_FILE.match(key)}
    tensors = merged(path, file.tensors.values(), experts)
    files = tuple(shards.paths(path))
    return Checkpoint(path, files, Model(layers, experts), dict(metadata), tensors)


def merged(path: Path, tensors: Iterable[gguf.Tensor], experts: int) -> dict[str, Source]:
    """The tensors in file order; experts on their own become one tensor, where the first of them was."""
    found: dict[str, Source] = {}
    parts: dict[str, dict[int, gguf.Tensor]] = {}
    for tensor in tensors:
        single = SINGLE.fullmatch(tensor.name)
        if single is None:
            found[tensor.name] = Source(tensor.shape, Mapped(tensor, path))
            continue
        name = f"{single[1]}_exps.weight"
        parts.setdefault(name, {})[int(single[2])] = tensor
        found.setdefault(name, Source((), Mapped(tensor, path)))  # keeps the place
    for name, single_tensors in parts.items():
        found[name] = stacked(path, name, single_tensors, experts)
    return found


def stacked(path: Path, name: str, parts: dict[int, gguf.Tensor], experts: int) -> Source:
    if sorted(parts) != list(range(experts)):
        raise FileFormatError(f"{path}: {name} has the experts {sorted(parts)}, expected 0 to {experts - 1}")
    shapes = {tensor.shape for tensor in parts.values()}
    if len(shapes) > 1:
        raise FileFormatError(f"{path}: the experts of {name} have different shapes: {sorted(shapes)}")
    matrices: list[Matrix] = [Mapped(parts[e], path) for e in range(experts)]
    return Source((experts, *shapes.pop()), Stack(matrices))
