"""Vocabularies for tests, as the metadata of a GGUF file, and the vectors that go with them."""

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from localmix import tokenizer
from localmix.tokenizer import Tokenizer

DATA = Path(__file__).parent / "data" / "tokenizers"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
REDUCED = ("gpt-2", "llama-bpe", "llama-spm", "qwen2", "smollm", "tekken")
STORIES_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}"
    "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def read(name: str) -> Any:
    """The content of a JSON file of oracles."""
    return json.loads((DATA / f"{name}.json").read_text())


def reduced(name: str) -> dict[str, Any]:
    """A vocabulary reduced to what its vectors need."""
    metadata = read(name)["metadata"]
    for key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
        if key in metadata:
            metadata[key] = np.array(metadata[key], np.float32 if key.endswith("scores") else np.int32)
    return metadata


def mistral(version: str) -> dict[str, Any]:
    """Mistral's whole SentencePiece vocabulary: v1 is Mixtral's, v2 and v3 put 768 control tokens before the bytes."""
    controls: list[str] = []
    if version != "v1":
        tools = ("TOOL_CALLS", "AVAILABLE_TOOLS", "/AVAILABLE_TOOLS", "TOOL_RESULTS", "/TOOL_RESULTS")
        controls = [f"[{name}]" for name in ("INST", "/INST", *tools)] + [f"[control_{n}]" for n in range(8, 769)]
    pieces = lzma.decompress((DATA / "mistral.pieces.txt.xz").read_bytes()).decode().split("\n")
    # A piece's score is minus its rank, but for runs of spaces, which nothing else may win against.
    scores = [-1e9 if set(piece) == {"▁"} else -float(rank) for rank, piece in enumerate(pieces)]
    first = ["<unk>", "<s>", "</s>", *controls]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [*first, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces],
        "tokenizer.ggml.scores": np.array([0.0] * (len(first) + 256) + scores, np.float32),
        "tokenizer.ggml.token_type": np.array(
            [UNKNOWN] + [CONTROL] * (len(first) - 1) + [BYTE] * 256 + [NORMAL] * len(pieces), np.int32
        ),
        "tokenizer.ggml.bos_token_id": np.uint32(1),
        "tokenizer.ggml.eos_token_id": np.uint32(2),
    }


def stories() -> dict[str, Any]:
    """The bundled model's vocabulary and template, out of its SentencePiece model."""
    model = stories_original()
    ids = range(model.get_piece_size())
    kinds = ((model.is_unknown, UNKNOWN), (model.is_control, CONTROL), (model.is_byte, BYTE))
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [model.id_to_piece(id) for id in ids],
        "tokenizer.ggml.scores": np.array([model.get_score(id) for id in ids], np.float32),
        "tokenizer.ggml.token_type": np.array(
            [next((kind for test, kind in kinds if test(id)), NORMAL) for id in ids], np.int32
        ),
        "tokenizer.chat_template": STORIES_TEMPLATE,
    }


@cache
def families() -> dict[str, Any]:
    """Small tokenizers of many families, by name: their files, and the ids that transformers' AutoTokenizer gives."""
    return json.loads(lzma.decompress((DATA / "families.json.xz").read_bytes()))


def stories_original() -> sentencepiece.SentencePieceProcessor:
    """The SentencePiece model as it was trained."""
    return sentencepiece.SentencePieceProcessor(model_file=str(DATA / "stories.model"))


@cache
def tokenizer_of(name: str) -> Tokenizer:
    """The tokenizer of a vocabulary by its name here: v1, v2, v3, stories or one of REDUCED."""
    if name in REDUCED:
        return tokenizer.from_metadata(reduced(name))
    return tokenizer.from_metadata(stories() if name == "stories" else mistral(name))
