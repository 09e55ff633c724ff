"""Writes transformers.npz: logits (T, V) that transformers gives for every network of tests/random_checkpoints.py.

    PYTHONPATH=.:tests python tests/data/make_transformers.py

needs: torch, transformers 5. In float32, with the plain ("eager") implementations of attention and experts.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_checkpoints import CONTEXT, LLAMA3, SPECS, Spec, ids, weights
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel


def model(spec: Spec) -> PreTrainedModel:
    """The network in transformers."""
    rope: dict[str, Any] = {"rope_theta": spec.rope_base, "rope_type": "default"}
    if spec.linear:
        rope |= {"rope_type": "linear", "factor": spec.linear}
    if spec.llama3:
        rope |= {"rope_type": "llama3", **LLAMA3}
    sizes = {
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "intermediate_size": spec.hidden,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_parameters": rope,
        "tie_word_embeddings": spec.tied,
        "attn_implementation": "eager",
        "experts_implementation": "eager",
    }
    if spec.experts:
        made: PreTrainedModel = MixtralForCausalLM(
            MixtralConfig(**sizes, num_local_experts=spec.experts, num_experts_per_tok=spec.active)
        )
    else:
        made = LlamaForCausalLM(LlamaConfig(**sizes))
    missing, unexpected = made.load_state_dict(state(spec), strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= ({"lm_head.weight"} if spec.tied else set()), missing
    return made.eval()


def state(spec: Spec) -> dict[str, torch.Tensor]:
    """The weights under transformers 5's names: experts merged, gate above up."""
    found = weights(spec)
    for layer in range(spec.layers if spec.experts else 0):
        old, new = f"model.layers.{layer}.block_sparse_moe.", f"model.layers.{layer}.mlp."
        found[new + "gate.weight"] = found.pop(old + "gate.weight")
        w1, w2, w3 = (
            [found.pop(f"{old}experts.{e}.{name}.weight") for e in range(spec.experts)] for name in ("w1", "w2", "w3")
        )
        found[new + "experts.gate_up_proj"] = np.stack([np.concatenate(pair) for pair in zip(w1, w3, strict=True)])
        found[new + "experts.down_proj"] = np.stack(w2)
    return {name: torch.from_numpy(values) for name, values in found.items()}


def main() -> None:
    answers = {}
    for spec in SPECS:
        with torch.no_grad():
            answers[spec.name] = model(spec)(torch.tensor([ids(spec)])).logits[0].float().numpy()
    np.savez_compressed(Path(__file__).with_name("transformers.npz"), **answers)


if __name__ == "__main__":
    main()
