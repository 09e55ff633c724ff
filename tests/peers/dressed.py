"""The bundled model in the clothes of other families: what was trained stays, and what they have besides is added.

Random networks are not like trained ones: what an expert adds is large beside what it is added to, so that rounding
changes much. Here the weights, the routers and the text are real. What families have besides is added so that the
network stays near to the one that was trained: norms of queries and keys have the sizes that these have in the mean,
experts give as much as where shares are divided by their sum, biases and a shared expert give a little.
Shapes: D width · H heads · K kv heads · d head size · F hidden.
"""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_models import F32, write

import localmix
from localmix import gguf
from localmix.backends.reference import Reference
from localmix.engine.engine import Engine
from localmix.model import Model
from localmix.network.blocks import Place, Rope, Router
from localmix.store.bundled import model_path
from quant.format import Floats

YARN: dict[str, Any] = {"rope.scaling.type": "yarn", "rope.scaling.factor": 1.5,
                        "rope.scaling.original_context_length": 192}  # fmt: skip
SCALES: dict[str, Any] = {"attention.scale": 0.13, "residual_scale": 0.95, "embedding_scale": 1.05, "logit_scale": 1.05}
LITTLE = 0.02
YARN_TYPE = "rope.scaling.type"
HIDDEN = {"expert_feed_forward_length": 512}
SHARED = {"expert_shared_feed_forward_length": 512}

RECIPES = ("Q8_0", "Q4_K_M")  # llama.cpp rounds activations in blocks of 32 for the one, of 256 for the other
# Of each kind its architecture, and keys.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("llama", {}),
    "qwen2moe": ("qwen2moe", HIDDEN | SHARED),
    "qwen3moe": ("qwen3moe", HIDDEN),
    "qwen3moe, YaRN": ("qwen3moe", HIDDEN | YARN),
    "olmoe": ("olmoe", {}),
    "granitemoe": ("granitemoe", SCALES),
    "granitemoe, shared": ("granitemoe", SCALES | SHARED),
    "gpt-oss": ("gpt-oss", HIDDEN | YARN | {"attention.sliding_window": 64}),
}
HALVES = ("qwen2moe", "qwen3moe", "olmoe", "gpt-oss")  # whose rotation turns (i, i + d / 2), not (2i, 2i + 1)


class Measuring(Reference):
    """Notes the queries and keys of each layer before they are rotated, and what shares are divided by."""

    def __init__(self) -> None:
        self.seen: list[Floats] = []  # (T, heads, d): of layer 0 queries, keys, of layer 1 ...
        self.sums: list[float] = []  # of the chosen ones' shares among all, in the mean

    def rotate(self, x: Floats, rope: Rope, place: Place) -> Floats:
        self.seen.append(x)
        return super().rotate(x, rope, place)

    def choose(self, x: Floats, router: Router) -> tuple[NDArray, Floats]:
        self.sums.append(float(super().choose(x, replace(router, normalized=False))[1].sum(axis=1).mean()))
        return super().choose(x, router)


def text(model: Model, tokens: int) -> list[int]:
    """Ids of a story that the bundled model tells."""
    begun = "Once upon a time"
    return model.tokenizer.encode(begun + model.generate(begun, max_tokens=tokens, seed=1).read())[:tokens]


def make(path: Path, kind: str, ids: list[int]) -> Path:
    """The file of a kind, all matrices in F32."""
    architecture, more = KINDS[kind]
    file, model = gguf.open(model_path()), localmix.load(None, "reference")
    measured = Measuring()
    Engine(model.network, measured, "f32").logits(ids)
    sizes = [np.sqrt(np.square(x).mean(axis=(0, 1) if architecture != "olmoe" else 0)) for x in measured.seen]

    metadata = {k: v for k, v in file.typed_metadata.items() if not k.startswith(("llama.", "localmix.", "general."))}
    keys = {k.removeprefix("llama."): v for k, v in file.typed_metadata.items() if k.startswith("llama.")}
    for key, value in more.items():
        keys[key] = np.uint32(value) if isinstance(value, int) else np.float32(value) if key != YARN_TYPE else value
    tensors = {name: t.format.dequantize(t.data) for name, t in file.tensors.items()}
    for i, layer in enumerate(model.network.layers):
        at, a = f"blk.{i}.", layer.attention
        if architecture == "olmoe":  # which llama.cpp takes with as many heads of keys as of queries
            keys["attention.head_count_kv"], group = np.uint32(a.heads), a.heads // a.kv_heads
            for name in ("k", "v"):
                own = f"{at}attn_{name}.weight"
                apart = tensors[own].reshape(a.kv_heads, a.size, -1)
                tensors[own] = np.repeat(apart, group, axis=0).reshape(a.heads * a.size, -1)
            sizes[2 * i + 1] = np.repeat(sizes[2 * i + 1], group, axis=0)
        if architecture in ("qwen2moe", "olmoe"):  # whose shares are those among all experts
            tensors[f"{at}ffn_down_exps.weight"] /= measured.sums[i]
        tensors |= added(architecture, more, at, tensors, sizes[2 * i : 2 * i + 2], np.random.default_rng(i))
        if architecture in HALVES:
            for name, suffix in itertools.product("qk", (".weight", ".bias", "_norm.weight")):
                own = f"{at}attn_{name}{suffix}"
                if own in tensors:
                    tensors[own] = halves(tensors[own], a.size)
        if architecture == "gpt-oss":
            tensors[f"{at}post_attention_norm.weight"] = tensors.pop(f"{at}ffn_norm.weight")
    metadata |= {"general.architecture": architecture, **{f"{architecture}.{k}": v for k, v in keys.items()}}
    return write(path, metadata, {name: (F32, x.astype(np.float32)) for name, x in tensors.items()})


def added(
    architecture: str, more: dict[str, Any], at: str, own: dict[str, NDArray], sizes: list[Floats], r: Any
) -> dict[str, NDArray]:
    """What a family's layer has besides, in the rotation of neighbours."""
    found: dict[str, NDArray] = {}
    if architecture in ("qwen3moe", "olmoe"):
        found |= {f"{at}attn_{name}_norm.weight": size.reshape(-1) for name, size in zip("qk", sizes, strict=True)}
    if architecture in ("qwen2moe", "gpt-oss"):
        names = ["q", "k", "v"] + (["output"] if architecture == "gpt-oss" else [])
        rows = {name: len(own[f"{at}attn_{name}.weight"]) for name in names}
        found |= {f"{at}attn_{name}.bias": LITTLE * r.standard_normal(rows[name]) for name in names}
    if "expert_shared_feed_forward_length" in more:
        parts = ("gate", "up", "down")
        found |= {f"{at}ffn_{part}_shexp.weight": own[f"{at}ffn_{part}_exps.weight"].mean(axis=0) for part in parts}
        found[f"{at}ffn_down_shexp.weight"] *= 10 * LITTLE
    if architecture == "qwen2moe":
        found[f"{at}ffn_gate_inp_shexp.weight"] = own[f"{at}ffn_gate_inp.weight"].mean(axis=0)
    if architecture == "gpt-oss":
        experts, hidden, width = own[f"{at}ffn_gate_exps.weight"].shape
        found[f"{at}attn_sinks.weight"] = r.standard_normal(4) - 4
        found[f"{at}ffn_gate_inp.bias"] = LITTLE * r.standard_normal(experts)
        for part, size in (("gate", hidden), ("up", hidden), ("down", width)):
            found[f"{at}ffn_{part}_exps.bias"] = LITTLE / 10 * r.standard_normal((experts, size))
        # Its activation multiplies with up + 1: of an up that is one less it is that of the others.
        found[f"{at}ffn_up_exps.bias"] -= 1
    return found


def halves(x: NDArray, size: int) -> NDArray:
    """Rows (heads · d, ...) with the pairs of a head (2i, 2i + 1) as (i, i + d / 2)."""
    apart = x.reshape(-1, size // 2, 2, *x.shape[1:])
    return apart.swapaxes(1, 2).reshape(x.shape)
