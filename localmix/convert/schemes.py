"""Checkpoints that were quantized by others: which can be read, and one line about each that cannot.

The formats of a GGUF file are made from the weights as they were trained; what somebody has rounded to 4 bits already
would only lose again. So a folder of such weights names its scheme, and what to take instead.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localmix.convert.settings import Settings
from localmix.errors import UnsupportedError

TAKE = "take the repository of the original weights (BF16 or FP8), or one with a GGUF file"
NAMES = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "mlx": "MLX",
    "modelopt": "ModelOpt",
}
READ = ("fp8", "fbgemm_fp8", "finegrained_fp8", "mxfp4")  # quant_method: weights of 8 bits with scales; OpenAI's own
BLOCK = (128, 128)  # rows and columns of a scale where the configuration does not say

# Tensors that only these schemes have, for folders whose configuration keeps silent.
TELLTALE = (
    (r"\.(qweight|qzeros|g_idx)$", "GPTQ or AWQ"),
    (r"\.(absmax|quant_map|nested_absmax|quant_state\..*)$", "bitsandbytes"),
    (r"\.weight_scale_2$", "NVFP4"),
    (r"\.biases$", "MLX"),
    (r"\.(weight_packed|weight_shape|weight_zero_point)$", "compressed-tensors"),
    (r"\.(lora_[AB]|lora_embedding_[AB])(\.|$)", "LoRA"),
)


def refuse(config: Settings) -> None:
    """UnsupportedError: config.json names a scheme whose weights cannot be read."""
    quantization = method(config)
    if not quantization:
        return
    name = str(quantization.get("quant_method") or ("mlx" if "group_size" in quantization else "unknown")).lower()
    if name in READ or (name in ("compressed-tensors", "modelopt") and eight_bits(quantization)):
        return
    bits = next((quantization[key] for key in ("bits", "w_bit", "nbits") if key in quantization), None)
    bits = 4 if quantization.get("load_in_4bit") else 8 if quantization.get("load_in_8bit") else bits
    scheme = NAMES.get(name, name) + (f" ({bits} bits)" if bits else "")
    raise UnsupportedError(f"{config.path}: the weights are quantized with {scheme}: {TAKE}")


def method(config: Settings) -> dict[str, Any]:
    """What the configuration says about quantization; MLX has another name for it, and some put it with the text."""
    for place in (config.values, config.values.get("text_config")):
        for key in ("quantization_config", "compression_config", "quantization"):
            value = place.get(key) if isinstance(place, dict) else None
            if isinstance(value, dict) and value:
                return value
    return {}


def eight_bits(quantization: dict[str, Any]) -> bool:
    """Whether weights of compressed-tensors or ModelOpt are plain floats of 8 bits."""
    if quantization.get("quant_algo") == "FP8" or quantization.get("format") in ("float-quantized", "naive-quantized"):
        groups = quantization.get("config_groups") or {}
        weights = [group.get("weights") or {} for group in groups.values() if isinstance(group, dict)]
        return all(each.get("type", "float") == "float" and each.get("num_bits", 8) == 8 for each in weights)
    return False


def block(config: Settings) -> tuple[int, int]:
    """Rows and columns that share a scale."""
    size = method(config).get("weight_block_size")
    if isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size):
        return size[0], size[1]
    return BLOCK


def refuse_adapter(folder: Path) -> None:
    """UnsupportedError: the folder holds what was trained beside a model, not the model."""
    if (folder / "adapter_config.json").is_file() and not any(folder.glob("model*.safetensors")):
        raise UnsupportedError(f"{folder}: is a LoRA adapter, not a model: {ADAPTER}")


ADAPTER = "merge it into its base model (peft's merge_and_unload) and save that, or take a merged repository"


def refuse_tensors(names: Iterable[str], path: Path) -> None:
    """UnsupportedError: tensors that only a quantized checkpoint or an adapter has."""
    for name in names:
        for pattern, scheme in TELLTALE:
            if re.search(pattern, name):
                what = f"is a {scheme} adapter, not a model: {ADAPTER}" if scheme == "LoRA" else ""
                what = what or f"the weights are quantized with {scheme}: {TAKE}"
                raise UnsupportedError(f"{path}: {what} (found the tensor {name})")
