"""Small checkpoints of every family as transformers saves them, with random weights that never change.

The weights come from NumPy's RandomState, so only logits are stored: `tests/data/make_checkpoints.py` lets transformers
load the very folders that are written here. Biases, sinks and routers are random too, windows shorter than the text.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoint_folders
import numpy as np
from numpy.typing import NDArray

VOCABULARY, WIDTH, HEADS, KV_HEADS, SIZE, HIDDEN, LAYERS, CONTEXT = 64, 64, 4, 2, 32, 96, 3, 256
EXPERTS, ACTIVE, EXPERT, SHARED = 6, 3, 32, 160
TOKENS, KEPT = 48, 8  # of the last tokens logits are stored
IDS = np.random.RandomState(7).randint(3, VOCABULARY, TOKENS).tolist()

Config = dict[str, Any]
Tensors = dict[str, NDArray[Any]]

BASE: Config = {
    "hidden_act": "silu", "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5, "vocab_size": VOCABULARY, "tie_word_embeddings": False, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": None, "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "transformers_version": "5.24.0",
}  # fmt: skip
WIDE = {"head_dim": SIZE}
QWEN_MOE: Config = {
    "num_experts": EXPERTS, "num_experts_per_tok": ACTIVE, "moe_intermediate_size": EXPERT, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "use_sliding_window": False, "sliding_window": None, "max_window_layers": 28,
    "output_router_logits": False, "router_aux_loss_coef": 0.001,
}  # fmt: skip
MULTIPLIERS = {
    "embedding_multiplier": 4.0, "residual_multiplier": 0.3, "attention_multiplier": 0.05, "logits_scaling": 3.0
}  # fmt: skip
GRANITE_MOE: Config = {"num_local_experts": EXPERTS, "num_experts_per_tok": ACTIVE, "intermediate_size": EXPERT}
YARN: Config = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 32,
    "beta_fast": 32.0, "beta_slow": 1.0,
}  # fmt: skip
GPT_OSS: Config = WIDE | {
    "num_local_experts": EXPERTS, "num_experts_per_tok": ACTIVE, "experts_per_token": ACTIVE,
    "intermediate_size": EXPERT, "sliding_window": 7, "swiglu_limit": 7.0, "attention_bias": True,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "initial_context_length": 32,
    "rope_parameters": YARN | {"rope_theta": 150000.0, "truncate": False},
}  # fmt: skip

# Of each kind: its model_type, and what its configuration has beside BASE.
KINDS: dict[str, tuple[str, Config]] = {
    "llama_biased": ("llama", WIDE | {"attention_bias": True, "mlp_bias": False}),
    "qwen2": ("qwen2", {"use_sliding_window": False, "sliding_window": None, "max_window_layers": 28}),
    "qwen2_moe": ("qwen2_moe", QWEN_MOE | {"norm_topk_prob": False, "shared_expert_intermediate_size": SHARED}),
    "qwen2_moe_normed": ("qwen2_moe", QWEN_MOE | {"norm_topk_prob": True, "shared_expert_intermediate_size": SHARED}),
    "qwen3": ("qwen3", WIDE | {"attention_bias": False, "tie_word_embeddings": True}),
    "qwen3_moe": ("qwen3_moe", WIDE | QWEN_MOE | {"norm_topk_prob": True}),
    "qwen3_moe_merged": ("qwen3_moe", WIDE | QWEN_MOE | {"norm_topk_prob": True}),
    "qwen3_moe_yarn": ("qwen3_moe", WIDE | QWEN_MOE | {"norm_topk_prob": True, "rope_parameters": YARN}),
    "olmoe": ("olmoe", GRANITE_MOE | {"num_experts": EXPERTS, "num_key_value_heads": HEADS, "clip_qkv": None,
                                      "norm_topk_prob": False}),
    "granite": ("granite", MULTIPLIERS),
    "granitemoe": ("granitemoe", GRANITE_MOE | MULTIPLIERS | {"tie_word_embeddings": True}),
    "granitemoeshared": ("granitemoeshared", GRANITE_MOE | MULTIPLIERS | {"shared_intermediate_size": SHARED}),
    "gpt_oss": ("gpt_oss", GPT_OSS),
    "gpt_oss_mxfp4": ("gpt_oss", GPT_OSS | {"quantization_config": {"quant_method": "mxfp4"}}),
}  # fmt: skip
KINDS["gpt_oss_rounded"] = (
    "gpt_oss",
    KINDS["gpt_oss_mxfp4"][1] | {"rope_parameters": YARN | {"rope_theta": 150000.0, "truncate": True}},
)
del KINDS["olmoe"][1]["num_local_experts"]

# What llama.cpp can compute, and the recipe that it is converted with. Its YaRN rounds the ends of the ramp.
QUANTIZED = {
    "llama_biased": "Q5_1", "qwen2": "Q4_1", "qwen2_moe": "Q8_0", "qwen3": "Q5_0", "qwen3_moe": "Q4_K_M",
    "qwen3_moe_yarn": "Q8_0", "olmoe": "Q5_K_M", "granite": "Q8_0", "granitemoe": "Q6_K", "granitemoeshared": "IQ4_NL",
    "gpt_oss_rounded": "Q8_0",
}  # fmt: skip


def config(kind: str) -> Config:
    """What config.json says."""
    name, more = KINDS[kind]
    return BASE | more | {"model_type": name}


def write(folder: Path, kind: str) -> Path:
    """The checkpoint as a folder."""
    folder.mkdir(parents=True)
    checkpoint_folders.safetensors(folder / "model.safetensors", weights(kind), "F32")
    (folder / "config.json").write_text(json.dumps(config(kind)))
    checkpoint_folders.tokenizer(folder)
    return folder


def weights(kind: str) -> Tensors:
    """Every tensor under its name in the checkpoint."""
    random, found = np.random.RandomState(sum(map(ord, kind))), Tensors()
    for name, shape in shapes(kind):
        values = random.standard_normal(shape)
        if name.endswith(("_blocks", "_scales")):  # any bits; powers of two about 1/16
            large = name.endswith("_blocks")
            found[name] = random.randint(*((0, 256) if large else (121, 126)), shape).astype(np.uint8)
            continue
        if "norm" in name:
            values = 1 + 0.2 * values
        elif len(shape) > 1 and not name.endswith("bias"):
            inputs = shape[-2] if KINDS[kind][0] == "gpt_oss" and ".experts." in name else shape[-1]
            values = values * 1.5 / np.sqrt(inputs)
        found[name] = values.astype(np.float32)
    return found


def shapes(kind: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of a checkpoint's tensors."""
    values = config(kind)
    name = values["model_type"]
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    yield "model.norm.weight", (WIDTH,)
    if not values["tie_word_embeddings"]:
        yield "lm_head.weight", (VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (WIDTH,)
        yield at + "post_attention_layernorm.weight", (WIDTH,)
        for own, shape in (*attention(values, name), *feed_forward(kind, name)):
            yield at + own, shape


def attention(values: Config, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    size = values.get("head_dim", WIDTH // HEADS)
    query, key = HEADS * size, values["num_key_value_heads"] * size
    biased = "qkv" if name.startswith("qwen2") else "qkvo" if values.get("attention_bias") else ""
    for letter, out, width in (("q", query, WIDTH), ("k", key, WIDTH), ("v", key, WIDTH), ("o", WIDTH, query)):
        yield f"self_attn.{letter}_proj.weight", (out, width)
        if letter in biased:
            yield f"self_attn.{letter}_proj.bias", (out,)
    if name in ("qwen3", "qwen3_moe", "olmoe"):
        whole = name == "olmoe"
        yield "self_attn.q_norm.weight", (query if whole else size,)
        yield "self_attn.k_norm.weight", (key if whole else size,)
    if name == "gpt_oss":
        yield "self_attn.sinks", (HEADS,)


def feed_forward(kind: str, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    if name in ("llama", "qwen2", "qwen3", "granite"):
        yield from glu("mlp", HIDDEN)
    elif name.startswith("granitemoe"):
        yield "block_sparse_moe.router.layer.weight", (EXPERTS, WIDTH)
        yield "block_sparse_moe.input_linear.weight", (EXPERTS, 2 * EXPERT, WIDTH)
        yield "block_sparse_moe.output_linear.weight", (EXPERTS, WIDTH, EXPERT)
        if name == "granitemoeshared":
            yield "shared_mlp.input_linear.weight", (2 * SHARED, WIDTH)
            yield "shared_mlp.output_linear.weight", (WIDTH, SHARED)
    elif name == "gpt_oss":
        yield from gpt_oss(kind)
    else:
        yield "mlp.gate.weight", (EXPERTS, WIDTH)
        if kind.endswith("merged"):
            yield "mlp.experts.gate_up_proj", (EXPERTS, 2 * EXPERT, WIDTH)
            yield "mlp.experts.down_proj", (EXPERTS, WIDTH, EXPERT)
        else:
            for expert in range(EXPERTS):
                yield from glu(f"mlp.experts.{expert}", EXPERT)
        if name == "qwen2_moe":
            yield from glu("mlp.shared_expert", SHARED)
            yield "mlp.shared_expert_gate.weight", (1, WIDTH)


def glu(stem: str, hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{stem}.gate_proj.weight", (hidden, WIDTH)
    yield f"{stem}.up_proj.weight", (hidden, WIDTH)
    yield f"{stem}.down_proj.weight", (WIDTH, hidden)


def gpt_oss(kind: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "mlp.router.weight", (EXPERTS, WIDTH)
    yield "mlp.router.bias", (EXPERTS,)
    yield "mlp.experts.gate_up_proj_bias", (EXPERTS, 2 * EXPERT)
    yield "mlp.experts.down_proj_bias", (EXPERTS, WIDTH)
    for name, rows, width in (("gate_up_proj", 2 * EXPERT, WIDTH), ("down_proj", WIDTH, EXPERT)):
        if kind.endswith(("mxfp4", "rounded")):
            yield f"mlp.experts.{name}_blocks", (EXPERTS, rows, width // 32, 16)
            yield f"mlp.experts.{name}_scales", (EXPERTS, rows, width // 32)
        else:
            yield f"mlp.experts.{name}", (EXPERTS, width, rows)
