"""What a model file holds and what a token costs: sizes by role and format, bytes read, cache bytes.

Arithmetic on a file's header alone: no weight is read, nothing is printed. What the metadata does not say is None, so
that any GGUF can be described; of an architecture that is not known all layers are taken to see all positions.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from localmix import gguf, network
from localmix.engine.cache import PAGE
from localmix.engine.kept import Kept
from localmix.errors import LocalmixError
from localmix.network.tensors import Wanted

KV_ITEM = 2  # bytes of a key's or value's number in the cache: float16

# The first pattern that a tensor's name matches gives its role. `blk.3.ffn_up.5.weight` is an expert of an old file.
ROLES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (role, re.compile(pattern))
    for role, pattern in (
        ("embedding", r"token_embd\."),
        ("output", r"output\."),
        ("norms", r".*norm"),
        ("router", r"blk\.\d+\.ffn_gate_inp"),
        ("shared experts", r"blk\.\d+\.ffn_(gate|up|down)_shexp\."),
        ("experts", r"blk\.\d+\.ffn_(gate|up|down|gate_up)(_exps\.|\.\d+\.)"),
        ("attention", r"blk\.\d+\.attn_"),
        ("dense ffn", r"blk\.\d+\.ffn_"),
        ("other", r""),
    )
)


@dataclass(frozen=True)
class Part:
    """All tensors of one role and format."""

    role: str
    format: str
    tensors: int
    weights: int
    bytes: int
    read: int  # bytes that one decoded token reads
    active: int  # weights that one decoded token reads

    @property
    def bits(self) -> float:
        """Bits a weight."""
        return 8 * self.bytes / self.weights if self.weights else 0.0


@dataclass(frozen=True)
class Inventory:
    """A model in numbers. `read` is bytes a decoded token, `active` is weights a decoded token, `kept` keys and values
    in 16 bits.
    """

    parts: tuple[Part, ...]
    architecture: str | None
    layers: int | None
    experts: int | None
    experts_used: int | None
    context: int | None
    kept: Kept | None
    tied: bool  # the embedding is the output matrix too

    @property
    def weights(self) -> int:
        return sum(part.weights for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def read(self) -> int:
        return sum(part.read for part in self.parts)

    @property
    def active(self) -> int:
        return sum(part.active for part in self.parts)

    def cache(self, tokens: int) -> int:
        """Bytes of the keys and values of so many tokens; 0: the file does not say."""
        return self.kept.bytes(tokens) if self.kept else 0

    @property
    def bits(self) -> float:
        """Bits a weight, over all tensors."""
        return 8 * self.bytes / self.weights if self.weights else 0.0


def role(name: str) -> str:
    """What the tensor called `name` is for."""
    return next(role for role, pattern in ROLES if pattern.match(name))


class Described(Protocol):
    """An open file, or one that is still to be written: metadata with plain values, tensors by name."""

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    @property
    def tensors(self) -> Mapping[str, gguf.Tensor | gguf.TensorInfo]: ...


def take(file: Described) -> Inventory:
    """The inventory of a file."""
    architecture = file.metadata.get("general.architecture")
    numbers = _Numbers(file.metadata, architecture)
    experts, used = numbers.one("expert_count"), numbers.one("expert_used_count")
    tied = "output.weight" not in file.tensors
    groups: dict[tuple[str, str], list[gguf.Tensor | gguf.TensorInfo]] = {}
    for tensor in file.tensors.values():
        groups.setdefault((role(tensor.name), tensor.format.name), []).append(tensor)
    order = [role for role, _ in ROLES]
    parts = [
        _part(name, format, [(tensor, _share(name, tensor, experts, used, tied)) for tensor in tensors])
        for (name, format), tensors in groups.items()
    ]
    return Inventory(
        parts=tuple(sorted(parts, key=lambda part: (order.index(part.role), -part.bytes))),
        architecture=architecture if isinstance(architecture, str) else None,
        layers=numbers.one("block_count"),
        experts=experts,
        experts_used=used,
        context=numbers.one("context_length"),
        kept=numbers.kept(_windows(file, numbers)),
        tied=tied,
    )


def _windows(file: Described, numbers: "_Numbers") -> list[int]:
    """Positions that each layer sees, 0 for all; empty: all layers see all, or nobody knows."""
    embedding, layers = file.tensors.get("token_embd.weight"), numbers.one("block_count") or 0
    counted = max((len(file.tensors), *(tensor.shape[0] for tensor in file.tensors.values() if tensor.shape)))
    if numbers.one("attention.sliding_window") is None or embedding is None:
        return []
    if layers > len(file.tensors) or (numbers.one("expert_count") or 0) > counted:
        return []  # a damaged number
    try:
        return network.outline("", dict(file.metadata), embedding.shape[0], Wanted(file.tensors.__contains__)).windows
    except (LocalmixError, ValueError):  # ValueError: shapes too large for an array
        return []


def expert_bytes(file: Described) -> int:
    """Bytes of one expert of one layer, of the layer where they are largest; 0 without experts."""
    experts = _Numbers(file.metadata, file.metadata.get("general.architecture")).one("expert_count") or 0
    sums: dict[str, int] = {}
    for tensor in file.tensors.values():
        if role(tensor.name) == "experts":
            layer = tensor.name.split(".")[1]
            sums[layer] = sums.get(layer, 0) + tensor.nbytes
    return max(sums.values(), default=0) // max(experts, 1)


def _part(role: str, format: str, tensors: list[tuple[gguf.Tensor | gguf.TensorInfo, Fraction]]) -> Part:
    """The sums over tensors, each with the share of it that a decoded token reads."""
    sizes = [(math.prod(tensor.shape), tensor.nbytes, share) for tensor, share in tensors]
    return Part(
        role=role,
        format=format,
        tensors=len(sizes),
        weights=sum(weights for weights, _, _ in sizes),
        bytes=sum(nbytes for _, nbytes, _ in sizes),
        read=round(sum(nbytes * share for _, nbytes, share in sizes)),
        active=round(sum(weights * share for weights, _, share in sizes)),
    )


def _share(
    role: str, tensor: gguf.Tensor | gguf.TensorInfo, experts: int | None, used: int | None, tied: bool
) -> Fraction:
    """The part of a tensor's bytes that a decoded token reads: one row of the embedding, A of E experts."""
    if role == "embedding" and not tied:
        return Fraction(1, max(tensor.shape[0], 1))
    if role == "experts" and experts and used:
        return Fraction(min(used, experts), experts)
    return Fraction(1)


class _Numbers:
    """The integers that the metadata say about an architecture."""

    def __init__(self, metadata: Mapping[str, Any], architecture: object) -> None:
        self._metadata = metadata
        self._prefix = f"{architecture}."

    def one(self, key: str) -> int | None:
        value = self._metadata.get(self._prefix + key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def kept(self, windows: list[int]) -> Kept | None:
        """Keys and values, of layers that see the same number of positions together."""
        layers, heads, width = self.one("block_count"), self.one("attention.head_count"), self.one("embedding_length")
        if not layers or not heads or not width:
            return None
        head = width // heads
        sizes = (self.one("attention.key_length") or head) + (self.one("attention.value_length") or head)
        kv_heads = self._metadata.get(self._prefix + "attention.head_count_kv", heads)
        if isinstance(kv_heads, np.ndarray):  # one number a layer
            return Kept([0], [int(kv_heads.sum()) * sizes * KV_ITEM], PAGE)
        if not isinstance(kv_heads, int):
            return None
        counts = Counter(windows) or {0: layers}
        return Kept(list(counts), [count * kv_heads * sizes * KV_ITEM for count in counts.values()], PAGE)
