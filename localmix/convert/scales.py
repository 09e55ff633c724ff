"""Weights of 8 bits and the scales beside them, as Mistral, DeepSeek and Qwen publish them, taken together.

A scale belongs to a tensor (one number), to a row, or to a block of rows and columns (128 by 128); whatever it is
called, `weight_scale_inv` too, the weight is the product. Scales of activations are of no use here and left out.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from localmix.convert.foreign import EIGHT_BITS
from localmix.convert.matrix import Scaled, Stored
from localmix.convert.safetensors import Slice
from localmix.errors import FileFormatError

SCALES = ("{}_scale_inv", "{}_scale", "{}_qscale", "{stem}.qscale_weight", "{stem}.scales", "{stem}.scale")
ACTIVATIONS = re.compile(r"(^|\.)(input_scale|input_scale_ub|activation_scale|output_scale|[kv]_scale|qscale_act)$")


def with_scales(slices: dict[str, Slice], block: Sequence[int], notes: list[str], *, wanted: bool) -> dict[str, Slice]:
    """The tensors of a checkpoint, those of 8 bits with their scales.

    `block` are the rows and columns of one scale where there are many; `wanted`: the configuration speaks of scales,
    so a tensor without one is an error; else `notes` tells of them. FileFormatError: scales of another shape than
    their weights need.
    """
    found, bare = dict(slices), []
    for name, piece in slices.items():
        if not isinstance(piece.matrix, Stored) or piece.matrix.format not in EIGHT_BITS:
            continue
        stem = name.removesuffix(".weight")
        scale = next((at for at in (form.format(name, stem=stem) for form in SCALES) if at in slices), None)
        if scale is not None:
            found[name] = replace(piece, matrix=scaled(piece, slices[scale], block))
            found.pop(scale, None)
        elif wanted:
            raise FileFormatError(f"{piece.matrix.origin(0)}: has 8 bits and no scale, expected {name}_scale_inv")
        else:
            bare.append(name)
    if bare:
        notes.append(f"{len(bare)} tensors of 8 bits have no scales and are taken as they are, the first is {bare[0]}")
    if len(found) < len(slices):
        found = {name: piece for name, piece in found.items() if not ACTIVATIONS.search(name)}
    return found


def scaled(piece: Slice, scale: Slice, block: Sequence[int]) -> Scaled:
    """A tensor of 8 bits times its scales."""
    base, scales = piece.matrix, scale.matrix
    assert isinstance(base, Stored)
    assert isinstance(scales, Stored)
    expert = piece.shape[-2] if len(piece.shape) > 1 else base.rows
    experts = base.rows // max(expert, 1)
    count, columns = scales.rows * scales.width, scale.shape[-1] if len(scale.shape) > 1 else 1
    for height, span in ((expert, base.width), (1, base.width), tuple(block), (base.rows, base.width)):
        whole = height == base.rows  # one for all experts, too
        down = 1 if whole else -(-expert // height) * experts
        across = -(-base.width // span)
        if count == down * across and columns == across:
            flat = replace(scales, rows=down, width=across)
            return Scaled(base, flat, base.rows if whole else expert, height, span)
    raise FileFormatError(
        f"{scales.origin(0)}: {scale.shape} scales for weights of {piece.shape}, expected one, one per row, "
        f"or one for each {block[0]} rows and {block[1]} columns"
    )
