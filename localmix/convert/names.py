"""What each tensor of a GGUF is called in the checkpoints of others. {i} is the layer, {e} the expert."""

import re
from collections.abc import Mapping

HUGGING_FACE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "blk.{i}.attn_norm.weight": "model.layers.{i}.input_layernorm.weight",
    "blk.{i}.attn_q.weight": "model.layers.{i}.self_attn.q_proj.weight",
    "blk.{i}.attn_k.weight": "model.layers.{i}.self_attn.k_proj.weight",
    "blk.{i}.attn_v.weight": "model.layers.{i}.self_attn.v_proj.weight",
    "blk.{i}.attn_output.weight": "model.layers.{i}.self_attn.o_proj.weight",
    "blk.{i}.ffn_norm.weight": "model.layers.{i}.post_attention_layernorm.weight",
    "blk.{i}.ffn_gate.weight": "model.layers.{i}.mlp.gate_proj.weight",
    "blk.{i}.ffn_up.weight": "model.layers.{i}.mlp.up_proj.weight",
    "blk.{i}.ffn_down.weight": "model.layers.{i}.mlp.down_proj.weight",
    "blk.{i}.ffn_gate_inp.weight": "model.layers.{i}.block_sparse_moe.gate.weight",
    "blk.{i}.ffn_gate_exps.weight": "model.layers.{i}.block_sparse_moe.experts.{e}.w1.weight",
    "blk.{i}.ffn_up_exps.weight": "model.layers.{i}.block_sparse_moe.experts.{e}.w3.weight",
    "blk.{i}.ffn_down_exps.weight": "model.layers.{i}.block_sparse_moe.experts.{e}.w2.weight",
}

# As transformers 5 holds them in memory, and as some tools save them: gate and up in one, all experts in one.
HUGGING_FACE_ROUTER = "model.layers.{i}.mlp.gate.weight"
HUGGING_FACE_GATE_UP = "model.layers.{i}.mlp.experts.gate_up_proj"  # (E, 2 F, D), each expert's gate first
HUGGING_FACE_DOWN = "model.layers.{i}.mlp.experts.down_proj"  # (E, D, F)

MISTRAL = {
    "token_embd.weight": "tok_embeddings.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "output.weight",
    "blk.{i}.attn_norm.weight": "layers.{i}.attention_norm.weight",
    "blk.{i}.attn_q.weight": "layers.{i}.attention.wq.weight",
    "blk.{i}.attn_k.weight": "layers.{i}.attention.wk.weight",
    "blk.{i}.attn_v.weight": "layers.{i}.attention.wv.weight",
    "blk.{i}.attn_output.weight": "layers.{i}.attention.wo.weight",
    "blk.{i}.ffn_norm.weight": "layers.{i}.ffn_norm.weight",
    "blk.{i}.ffn_gate.weight": "layers.{i}.feed_forward.w1.weight",
    "blk.{i}.ffn_up.weight": "layers.{i}.feed_forward.w3.weight",
    "blk.{i}.ffn_down.weight": "layers.{i}.feed_forward.w2.weight",
    "blk.{i}.ffn_gate_inp.weight": "layers.{i}.feed_forward.gate.weight",
    "blk.{i}.ffn_gate_exps.weight": "layers.{i}.feed_forward.experts.{e}.w1.weight",
    "blk.{i}.ffn_up_exps.weight": "layers.{i}.feed_forward.experts.{e}.w3.weight",
    "blk.{i}.ffn_down_exps.weight": "layers.{i}.feed_forward.experts.{e}.w2.weight",
}

# The first release of Mixtral 8x7B: the experts of a layer in one tensor, (E F, D) each, w2 transposed.
MISTRAL_FIRST = {
    "blk.{i}.ffn_gate_inp.weight": "layers.{i}.block_sparse_moe.gate.weight",
    "blk.{i}.ffn_gate_exps.weight": "layers.{i}.block_sparse_moe.w1",
    "blk.{i}.ffn_up_exps.weight": "layers.{i}.block_sparse_moe.w3",
    "blk.{i}.ffn_down_exps.weight": "layers.{i}.block_sparse_moe.w2",
}


def source_name(names: Mapping[str, str], name: str, expert: int = 0) -> str:
    """What a checkpoint calls the GGUF tensor `name`, or its part that is expert number `expert`."""
    layer = re.match(r"blk\.(\d+)\.", name)
    if layer is None:
        return names[name]
    template = names["blk.{i}." + name[layer.end() :]]
    return template.format(i=layer[1], e=expert)
