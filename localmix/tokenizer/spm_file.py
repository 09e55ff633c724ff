"""A SentencePiece model file (tokenizer.model) as the `tokenizer.ggml.*` metadata of a GGUF: `spm` the other way."""

from pathlib import Path
from typing import Any

import numpy as np

from localmix.errors import FileFormatError, UnsupportedError

BPE = 2  # TrainerSpec.model_type


def read(path: Path) -> dict[str, Any]:
    """Pieces, scores, types (V each), the ids of special pieces and what is done to spaces."""
    from sentencepiece import sentencepiece_model_pb2 as protobuf  # 30 ms, for conversions only

    model: Any = protobuf.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own class differs between its implementations
        raise FileFormatError(f"{path}: not a SentencePiece model: {error}") from None
    if not model.pieces:
        raise FileFormatError(f"{path}: not a SentencePiece model: it has no pieces")
    if model.trainer_spec.model_type != BPE:
        raise UnsupportedError(f"{path}: model_type is {model.trainer_spec.model_type}, expected {BPE} (BPE)")
    if model.normalizer_spec.precompiled_charsmap and model.normalizer_spec.name != "identity":
        raise UnsupportedError(f"{path}: normalizes text by a table ({model.normalizer_spec.name}), expected identity")
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [piece.piece for piece in model.pieces],
        "tokenizer.ggml.scores": np.array([piece.score for piece in model.pieces], np.float32),
        "tokenizer.ggml.token_type": np.array([piece.type for piece in model.pieces], np.int32),
        "tokenizer.ggml.bos_token_id": model.trainer_spec.bos_id,
        "tokenizer.ggml.eos_token_id": model.trainer_spec.eos_id,
        "tokenizer.ggml.unknown_token_id": model.trainer_spec.unk_id,
        "tokenizer.ggml.add_space_prefix": model.normalizer_spec.add_dummy_prefix,
        "tokenizer.ggml.remove_extra_whitespaces": model.normalizer_spec.remove_extra_whitespaces,
    }
