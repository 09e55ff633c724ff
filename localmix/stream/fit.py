"""Whether a model fits into memory: as a whole, or with its experts streamed, or not at all. Arithmetic alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Fit = Literal["resident", "streamed", "no"]

PROGRAM = 400 << 20  # bytes for Python, its libraries and activations, with room to spare
RUNNING = 32 << 20  # of that what is in use before a model is loaded: 33 MB were measured
SPARE = 16 << 20  # bytes of activations, keys and values before a pool makes way for them
WORKING = RUNNING + SPARE  # what a program needs beside a pool
DEVICE = 192 << 20  # that a device's library keeps of activations, so that nobody has to make way for them
RESERVE = 32 << 20  # of memory that must be free where a prompt begins, or slots of a pool are given up
LEAST = 2048  # tokens of context without which a model is of little use
_MARGIN = 1 / 64, 48 << 20  # of what is free, bytes at least: other programs want more from time to time, tables of
# pages take a 512th, and beyond the limit of a control group a program is killed


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model: in all, of what every token reads, of all experts, of those a token reads, of its cache."""

    weights: int
    shared: int
    experts: int
    experts_read: int
    cache: Callable[[int], int]  # keys and values of so many tokens
    context: int  # tokens


def usable(ram: int | None, available: int) -> int:
    """Bytes that the program may take, with those that it has: `ram`, or of those `available` all but a margin."""
    share, least = _MARGIN
    return available - max(int(available * share), least) + RUNNING if ram is None else ram


def fit(sizes: Sizes, available: int) -> Fit:
    """Whether weights and a short context fit into `available` bytes, or what every token reads does, or neither."""
    if needs(sizes) <= available:
        return "resident"
    return "streamed" if sizes.experts and least(sizes) < available else "no"


def needs(sizes: Sizes) -> int:
    """What a model takes as a whole, with a short context."""
    return PROGRAM + _cache(sizes) + sizes.weights


def room(sizes: Sizes, available: int) -> int:
    """Bytes for experts, beside all that stays in memory; they make way for keys and values."""
    return max(available - WORKING - sizes.shared, 0)


def least(sizes: Sizes) -> int:
    """What a model takes without its experts, with a short context."""
    return WORKING + _cache(sizes) + sizes.shared


def context(sizes: Sizes, available: int) -> int:
    """Tokens of context that have room beside the weights: all that the model has, or a power of two below."""
    left = max(available - PROGRAM - sizes.weights, 0)
    if sizes.cache(sizes.context) <= left:
        return sizes.context
    tokens = 1 << sizes.context.bit_length() - 1
    while tokens > LEAST and sizes.cache(tokens) > left:
        tokens //= 2
    return tokens


def missing(sizes: Sizes, available: int) -> float:
    """The share of experts that a token has to read from the disk, if all are used alike and what fits stays."""
    return 1 - min(room(sizes, available) / max(sizes.experts, 1), 1.0)


def _cache(sizes: Sizes) -> int:
    return sizes.cache(min(LEAST, sizes.context))
