"""A configuration becomes GGUF metadata, by the tables of the family (network/layout.py).

What a family says about a key is carried out; a key that nobody took and that is no decoration is refused by name.
"""

from typing import Any

import numpy as np

from localmix.convert.settings import Settings
from localmix.errors import FileFormatError, UnsupportedError
from localmix.gguf.metadata import Writable
from localmix.network.layout import Layout, Number

# Keys that say nothing about the arithmetic of an answer: of training, of the library, of sampling, of tokens.
DECORATION = (
    r"^_|_version$|_tokens?_ids?$|_token_index$|_dropout$|dropout_prob$|_coef$|^unsloth|^hub_|_name_or_path$|"
    r"^(architectures|auto_map|model_type|torch_dtype|dtype|use_cache|initializer_range|pretraining_tp|"
    r"output_router_logits|router_jitter_noise|quantization_config|compression_config|quantization|"
    r"tokenizer_class|task_specific_params|id2label|label2id|problem_type|torchscript|return_dict|"
    r"use_return_dict|output_attentions|output_hidden_states|gradient_checkpointing|is_decoder|"
    r"chunk_size_feed_forward|max_length|min_length|num_beams|num_beam_groups|num_return_sequences|temperature|"
    r"top_k|top_p|typical_p|do_sample|early_stopping|repetition_penalty|length_penalty|diversity_penalty|"
    r"no_repeat_ngram_size|encoder_no_repeat_ngram_size|return_dict_in_generate|tf_legacy_loss|"
    r"transformers_weights|attn_implementation|attention_implementation|experts_implementation|"
    r"max_window_layers|initial_context_length|rope_type|type|finetuned)$"
)


def metadata(config: Settings, kin: Layout, name: str) -> dict[str, Writable]:
    """The keys that the family's table has, and the head size. FileFormatError, UnsupportedError: a value."""
    refuse(config, kin)
    keys: dict[str, Writable] = {}
    for key, number in kin.numbers.items():
        value = taken(config, number)
        if value is not None:
            keys[key] = value
    width, heads = number_of(keys, "embedding_length"), number_of(keys, "attention.head_count")
    size = config.whole("head_dim", kin.head_size or width // heads)
    if size * heads != width:
        keys |= {"attention.key_length": size, "attention.value_length": size}
    keys["rope.dimension_count"] = size
    experts, active = keys.get("expert_count", 0), keys.get("expert_used_count", 0)
    if active > experts:  # type: ignore[operator]
        raise FileFormatError(f"{config.path}: {active} experts per token, but there are only {experts}")
    prefixed = {f"{kin.architecture}.{key}": value for key, value in keys.items()}
    return {"general.architecture": kin.architecture, "general.name": name, **prefixed}


def number_of(keys: dict[str, Writable], key: str) -> int:
    """A whole number among the metadata."""
    return int(keys[key])  # type: ignore[arg-type]


def taken(config: Settings, number: Number) -> Writable | None:
    """The value of a key, or of the first of several."""
    names = number.names if isinstance(number.names, tuple) else (number.names,)
    found = [named for named in (within(config, one) for one in names) if named[1] in named[0]]
    if len({str(place.any(name)) for place, name in found}) > 1:
        raise FileFormatError(f"{config.path}: {' and '.join(names)} contradict each other")
    place, name = found[0] if found else within(config, names[0])
    if number.default is None and name not in place:
        return None
    if number.kind == "flag":
        return place.flag(name, number.default)
    real = number.kind == "real"
    return np.float32(place.real(name, number.default)) if real else place.whole(name, number.default)


def within(config: Settings, name: str) -> tuple[Settings, str]:
    """The object that has a key, whose name may be a path, and its name in it."""
    *outer, inner = name.split(".")
    for one in outer:
        config = config.within(one)
    return config, inner


def refuse(config: Settings, kin: Layout) -> None:
    """UnsupportedError: a key has another value than the one that can be carried out."""
    for key, only in kin.only.items():
        absent = only.value if only.absent is None else only.absent
        found: Any = config.any(key, absent)
        if found != only.value or isinstance(found, bool) != isinstance(only.value, bool):
            what = f"{key} is {shown(found)}" if key in config else f"{key} is missing, which means {shown(found)}"
            raise UnsupportedError(f"{config.path}: {what}, expected {shown(only.value)}")


def shown(value: Any) -> str:
    """As JSON has it."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)[:80]


def context_length(config: Settings, kin: Layout, key: str = "max_position_embeddings") -> tuple[int, list[str]]:
    """Positions that the model may use: with a sliding window, those for which the window changes nothing."""
    context = config.whole(key)
    if "attention.sliding_window" in kin.numbers:  # the architecture has windows
        kinds(config, kin, cut=False)
        return context, []
    window = config.whole("sliding_window", context)
    if not config.flag("use_sliding_window", kin.slides):
        window = context
    kinds(config, kin, cut=window < context)
    if window >= context:
        return context, []
    return window, [f"the context is {window}, not {context}: the model's sliding window is not supported"]


def kinds(config: Settings, kin: Layout, *, cut: bool) -> None:
    """UnsupportedError: layers of another kind than the architecture has in their places.

    `cut`: no longer than the window, where a layer with one is as one without.
    """
    for i, found in enumerate(config.any("layer_types", ())):
        expected = kin.kinds[i % len(kin.kinds)]
        if found != expected and not (cut and found == "sliding_attention"):
            raise UnsupportedError(f"{config.path}: layer_types has {found!r} for layer {i}, expected {expected!r}")
