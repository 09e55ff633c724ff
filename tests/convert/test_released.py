"""Configurations like those that models were released with (written by hand, not copies of the files: two layers, a
small vocabulary, other ids; of gpt-oss-20b and Mixtral the keys are those of the released files, one by one), and the
tensors of such checkpoints: all is read, nothing is missing, and every matrix gets a format that its rows divide into.
Files without data.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoint_folders
import pytest

from localmix import convert
from quant.recipe import RECIPES

Config = dict[str, Any]
Shapes = Iterator[tuple[str, list[int], str]]
LAYERS, VOCABULARY = 2, 64  # instead of their own
COMMON: Config = {"hidden_act": "silu", "initializer_range": 0.02, "use_cache": True, "attention_dropout": 0.0}

RELEASED: dict[str, Config] = {
    "gpt-oss-20b": COMMON | {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "attention_bias": True, "eos_token_id": 2,
        "experts_per_token": 4, "head_dim": 64, "hidden_size": 2880, "initial_context_length": 4096,
        "intermediate_size": 2880, "layer_types": ["sliding_attention", "full_attention"],
        "max_position_embeddings": 131072, "num_attention_heads": 64, "num_experts_per_tok": 4,
        "num_key_value_heads": 8, "num_local_experts": 32, "output_router_logits": False, "pad_token_id": 2,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
        "rms_norm_eps": 1e-05, "rope_scaling": {
            "beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
            "rope_type": "yarn", "truncate": False},
        "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": 128, "swiglu_limit": 7.0,
        "tie_word_embeddings": False, "transformers_version": "4.55.0.dev0",
    },
    "OLMoE-1B-7B-0924": COMMON | {
        "architectures": ["OlmoeForCausalLM"], "model_type": "olmoe", "attention_bias": False, "clip_qkv": None,
        "eos_token_id": 2, "hidden_size": 2048, "intermediate_size": 1024, "max_position_embeddings": 4096,
        "norm_topk_prob": False, "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8,
        "num_key_value_heads": 16, "output_router_logits": False, "pad_token_id": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": None, "rope_theta": 10000.0, "router_aux_loss_coef": 0.01, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "transformers_version": "4.43.0.dev0",
    },
    "Qwen1.5-MoE-A2.7B": COMMON | {
        "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "bos_token_id": 1,
        "decoder_sparse_step": 1, "eos_token_id": 2, "hidden_size": 2048, "intermediate_size": 5632,
        "max_position_embeddings": 8192, "max_window_layers": 21, "moe_intermediate_size": 1408,
        "norm_topk_prob": False, "num_attention_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
        "num_key_value_heads": 16, "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 5632, "sliding_window": 32768,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.39.0.dev0",
        "use_sliding_window": False,
    },
    "Qwen3-30B-A3B": COMMON | {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "attention_bias": False,
        "bos_token_id": 1, "decoder_sparse_step": 1, "eos_token_id": 2, "head_dim": 128, "hidden_size": 2048,
        "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
        "moe_intermediate_size": 768, "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128,
        "num_experts_per_tok": 8, "num_key_value_heads": 4, "output_router_logits": False, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
        "use_sliding_window": False,
    },
    "granite-3.1-1b-a400m": COMMON | {
        "architectures": ["GraniteMoeForCausalLM"], "model_type": "granitemoe", "attention_bias": False,
        "attention_multiplier": 0.015625, "bos_token_id": 0, "embedding_multiplier": 12.0, "eos_token_id": 0,
        "hidden_size": 1024, "intermediate_size": 512, "logits_scaling": 6.0, "max_position_embeddings": 131072,
        "num_attention_heads": 16, "num_experts_per_tok": 8, "num_key_value_heads": 8, "num_local_experts": 32,
        "output_router_logits": False, "pad_token_id": 0, "residual_multiplier": 0.22, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 1500000.0, "router_aux_loss_coef": 0.0, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16", "transformers_version": "4.47.0.dev0",
    },
    "Mixtral-8x7B-v0.1": COMMON | {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "bos_token_id": 1, "eos_token_id": 2,
        "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768,
        "num_attention_heads": 32, "num_experts_per_tok": 2, "num_key_value_heads": 8, "num_local_experts": 8,
        "output_router_logits": False, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02,
        "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.36.0.dev0",
    },
}  # fmt: skip


def shapes(c: Config) -> Shapes:
    """Every tensor: its name, its shape, its type."""
    width, kind = c["hidden_size"], c["model_type"]
    yield "model.embed_tokens.weight", [VOCABULARY, width], "BF16"
    yield "model.norm.weight", [width], "BF16"
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", [VOCABULARY, width], "BF16"
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", [width], "BF16"
        yield at + "post_attention_layernorm.weight", [width], "BF16"
        for name, shape, type in (*attention(c, kind), *EXPERTS[kind](c)):
            yield at + name, shape, type


def attention(c: Config, kind: str) -> Shapes:
    width, size = c["hidden_size"], c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    query, key = c["num_attention_heads"] * size, c["num_key_value_heads"] * size
    biased = {"gpt_oss": "qkvo", "qwen2_moe": "qkv"}.get(kind, "")
    for letter, shape in (("q", [query, width]), ("k", [key, width]), ("v", [key, width]), ("o", [width, query])):
        yield f"self_attn.{letter}_proj.weight", shape, "BF16"
        if letter in biased:
            yield f"self_attn.{letter}_proj.bias", shape[:1], "BF16"
    if kind in ("olmoe", "qwen3_moe"):
        yield "self_attn.q_norm.weight", [query if kind == "olmoe" else size], "BF16"
        yield "self_attn.k_norm.weight", [key if kind == "olmoe" else size], "BF16"
    if kind == "gpt_oss":
        yield "self_attn.sinks", [c["num_attention_heads"]], "BF16"


def gpt_oss(c: Config) -> Shapes:
    experts, width, hidden = c["num_local_experts"], c["hidden_size"], c["intermediate_size"]
    yield "mlp.router.weight", [experts, width], "BF16"
    yield "mlp.router.bias", [experts], "BF16"
    for name, rows, columns in (("gate_up_proj", 2 * hidden, width), ("down_proj", width, hidden)):
        yield f"mlp.experts.{name}_blocks", [experts, rows, columns // 32, 16], "U8"
        yield f"mlp.experts.{name}_scales", [experts, rows, columns // 32], "U8"
        yield f"mlp.experts.{name}_bias", [experts, rows], "BF16"


def qwen(c: Config) -> Shapes:
    width = c["hidden_size"]
    yield "mlp.gate.weight", [c["num_experts"], width], "BF16"
    for expert in range(c["num_experts"]):
        yield from glu(f"mlp.experts.{expert}.", width, c.get("moe_intermediate_size", c["intermediate_size"]))
    if "shared_expert_intermediate_size" in c:
        yield from glu("mlp.shared_expert.", width, c["shared_expert_intermediate_size"])
        yield "mlp.shared_expert_gate.weight", [1, width], "BF16"


def glu(stem: str, width: int, hidden: int) -> Shapes:
    yield stem + "gate_proj.weight", [hidden, width], "BF16"
    yield stem + "up_proj.weight", [hidden, width], "BF16"
    yield stem + "down_proj.weight", [width, hidden], "BF16"


def granite(c: Config) -> Shapes:
    experts, width, hidden = c["num_local_experts"], c["hidden_size"], c["intermediate_size"]
    yield "block_sparse_moe.router.layer.weight", [experts, width], "BF16"
    yield "block_sparse_moe.input_linear.weight", [experts, 2 * hidden, width], "BF16"
    yield "block_sparse_moe.output_linear.weight", [experts, width, hidden], "BF16"


def mixtral(c: Config) -> Shapes:
    width, hidden = c["hidden_size"], c["intermediate_size"]
    yield "block_sparse_moe.gate.weight", [c["num_local_experts"], width], "BF16"
    for expert in range(c["num_local_experts"]):
        for name, shape in (("w1", [hidden, width]), ("w2", [width, hidden]), ("w3", [hidden, width])):
            yield f"block_sparse_moe.experts.{expert}.{name}.weight", shape, "BF16"


EXPERTS = {"gpt_oss": gpt_oss, "olmoe": qwen, "qwen2_moe": qwen, "qwen3_moe": qwen, "granitemoe": granite,
           "mixtral": mixtral}  # fmt: skip


@pytest.fixture(params=RELEASED)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of each: headers, and holes where weights would be."""
    config = RELEASED[request.param] | {"num_hidden_layers": LAYERS, "vocab_size": VOCABULARY}
    folder = tmp_path / request.param
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    checkpoint_folders.tokenizer(folder)
    header, end = {}, 0
    for name, shape, type in shapes(config):
        size = 1 if type == "U8" else 2
        for count in shape:
            size *= count
        header[name] = {"dtype": type, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


def test_a_released_checkpoint_is_read(released: Path) -> None:
    plan = convert.make_plan(convert.open_checkpoint(released), RECIPES["Q4_K_M"])
    for info in plan.tensors.values():
        assert info.shape[-1] % info.format.block == 0, info
        assert (info.format.name == "mxfp4") == ("_exps.weight" in info.name and released.name == "gpt-oss-20b"), info
    config = json.loads((released / "config.json").read_text())
    weights = sum(math.prod(shape) * _in(name) for name, shape, _ in shapes(config))
    assert sum(math.prod(info.shape) for info in plan.tensors.values()) == weights


def _in(name: str) -> int:
    """Weights in an element of a tensor: two in a byte of MXFP4's blocks, none in its scales."""
    return 2 if name.endswith("_blocks") else 0 if name.endswith("_scales") else 1
