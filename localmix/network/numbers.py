"""The numbers that every family counts, read from a file's metadata and checked."""

from dataclasses import dataclass

from localmix.errors import FileFormatError
from localmix.network.keys import Keys

MOST_LAYERS = 10_000  # more are a damaged number


@dataclass(frozen=True)
class Numbers:
    """D width · H heads · K kv heads · d size · F hidden · E experts · A active · V vocabulary."""

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    size: int
    vocabulary: int
    context: int
    eps: float
    experts: int  # 0: dense
    active: int


def read(k: Keys, vocabulary: int) -> Numbers:
    """The numbers of a file; `vocabulary` is the rows of its embedding. FileFormatError: one that cannot be."""
    layers = k.whole("block_count", least=1)
    width, heads = k.whole("embedding_length", least=1), k.whole("attention.head_count", least=1)
    size = k.whole("attention.key_length", width // heads)
    experts = k.whole("expert_count", 0)
    active = k.whole("expert_used_count", 0)
    n = Numbers(
        layers=layers,
        width=width,
        hidden=k.whole("feed_forward_length", least=1),
        heads=heads,
        kv_heads=k.whole("attention.head_count_kv", heads),
        size=size,
        vocabulary=vocabulary,
        context=k.whole("context_length", least=1),
        eps=k.real("attention.layer_norm_rms_epsilon"),
        experts=experts,
        active=active if experts else 0,
    )
    _check(k, n, k.whole("attention.value_length", size))
    return n


def no_window(k: Keys, n: Numbers) -> None:
    """For families whose tokens see all before them: a window must be none, or no shorter than the context."""
    if 0 < k.whole("attention.sliding_window", 0) < n.context:
        raise k.wrong("attention.sliding_window", "none: not supported")


def windows(k: Keys, n: Numbers, period: int) -> list[int]:
    """How many positions each layer sees, 0 for all: where the file says, or all but the last of every `period`."""
    window = k.whole("attention.sliding_window", least=1)
    pattern = k.value("attention.sliding_window_pattern", period)
    if isinstance(pattern, list) and len(pattern) == n.layers:
        slides = [bool(one) for one in pattern]
    elif isinstance(pattern, int) and pattern > 0:
        slides = [i % pattern < pattern - 1 for i in range(n.layers)]
    else:
        raise k.wrong("attention.sliding_window_pattern", f"a number above 0, or one for each of {n.layers} layers")
    return [window if one else 0 for one in slides]


def _check(k: Keys, n: Numbers, value_length: int) -> None:
    rules = [
        (n.layers <= MOST_LAYERS, f"block_count = {n.layers}", f"1 to {MOST_LAYERS}"),
        (n.context < 1 << 31, f"context_length = {n.context}", "1 to 2147483647"),
        (n.kv_heads > 0 and n.heads % n.kv_heads == 0, f"attention.head_count_kv = {n.kv_heads}",
         f"a divisor of the {n.heads} heads"),
        (n.size > 0 and n.size % 2 == 0, f"attention.key_length = {n.size}", "an even number"),
        (value_length == n.size, f"attention.value_length = {value_length}", f"key_length, {n.size}"),
        (not n.experts or 1 <= n.active <= n.experts, f"expert_used_count = {n.active}", f"1 to {n.experts}"),
    ]  # fmt: skip
    for holds, what, expected in rules:
        if not holds:
            raise FileFormatError(f"{k.path}: {k.prefix}{what}: expected {expected}")
