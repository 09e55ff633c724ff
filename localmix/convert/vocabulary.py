"""The tokenizer of a checkpoint folder as GGUF metadata: pieces, special ids, chat template.

Several files of a folder speak about tokens. tokenizer.model is preferred over tokenizer.json, for it holds the
scores; tokens that were added later are in tokenizer_config.json or added_tokens.json.
"""

from pathlib import Path
from typing import Any

import numpy as np

from localmix.convert.safetensors import read_json
from localmix.convert.settings import Settings
from localmix.errors import FileFormatError
from localmix.gguf.metadata import Writable
from localmix.tokenizer import json_file, spm_file
from localmix.tokenizer.vocabulary import TokenType

Keys = dict[str, Any]


def read_vocabulary(folder: Path, size: int, config: Settings) -> dict[str, Writable]:
    """The `tokenizer.*` metadata for a model of `size` tokens."""
    settings = optional(folder / "tokenizer_config.json")
    keys = read_pieces(folder)
    add_tokens(keys, added_tokens(folder, settings), folder)
    pad(keys, size, folder)
    for name in ("bos", "eos", "pad"):
        set_special(keys, name, config, settings)
    keys["tokenizer.ggml.add_bos_token"] = settings.flag("add_bos_token", keys["tokenizer.ggml.model"] == "llama")
    keys["tokenizer.ggml.add_eos_token"] = settings.flag("add_eos_token", False)
    template = chat_template(folder, settings)
    return keys | ({"tokenizer.chat_template": template} if template else {})


def read_pieces(folder: Path) -> Keys:
    readers = (("tokenizer.model", spm_file.read), ("tokenizer.json", json_file.read))
    for pattern, read in (*readers, ("tokenizer.model.v*", spm_file.read)):  # as Mistral calls some of its own
        for path in sorted(folder.glob(pattern), reverse=True):
            return read(path)
    raise FileFormatError(f"{folder}: holds no tokenizer.model and no tokenizer.json")


def optional(path: Path) -> Settings:
    return Settings(path, read_json(path) if path.is_file() else {})


def added_tokens(folder: Path, settings: Settings) -> dict[int, tuple[str, bool]]:
    """Tokens beyond the pieces: id to text and whether it is a control token."""
    found = {id: (text, True) for text, id in optional(folder / "added_tokens.json").values.items()}
    for id, token in settings.within("added_tokens_decoder").values.items():
        found[int(id)] = token["content"], bool(token.get("special", False))
    return found


def add_tokens(keys: Keys, added: dict[int, tuple[str, bool]], folder: Path) -> None:
    count = len(keys["tokenizer.ggml.tokens"])
    new = sorted(id for id in added if id >= count)
    if new != list(range(count, count + len(new))):
        raise FileFormatError(f"{folder}: added tokens have the ids {new}, expected them to follow {count - 1}")
    extend(keys, [(added[id][0], TokenType.CONTROL if added[id][1] else TokenType.USER_DEFINED) for id in new])


def pad(keys: Keys, size: int, folder: Path) -> None:
    """Fill up to the rows of the embedding, as llama.cpp does, with tokens that nothing produces."""
    count = len(keys["tokenizer.ggml.tokens"])
    if count > size:
        raise FileFormatError(f"{folder}: the tokenizer has {count} tokens, config.json says vocab_size {size}")
    extend(keys, [(f"[PAD{id}]", TokenType.UNUSED) for id in range(count, size)])


def extend(keys: Keys, tokens: list[tuple[str, TokenType]]) -> None:
    if not tokens:
        return
    keys["tokenizer.ggml.tokens"] += [text for text, _ in tokens]
    types = np.array([kind for _, kind in tokens], np.int32)
    keys["tokenizer.ggml.token_type"] = np.concatenate([keys["tokenizer.ggml.token_type"], types])
    if "tokenizer.ggml.scores" in keys:
        low = np.full(len(tokens), -1e4, np.float32)  # never chosen by a merge
        keys["tokenizer.ggml.scores"] = np.concatenate([keys["tokenizer.ggml.scores"], low])


def set_special(keys: Keys, name: str, config: Settings, settings: Settings) -> None:
    """The id of bos, eos or pad: by its text in tokenizer_config.json, else by its id in config.json."""
    key = {"pad": "tokenizer.ggml.padding_token_id"}.get(name, f"tokenizer.ggml.{name}_token_id")
    text = settings.values.get(f"{name}_token")
    text = text.get("content") if isinstance(text, dict) else text
    id = config.values.get(f"{name}_token_id")
    id = id[0] if isinstance(id, list) and id else id
    if text in keys["tokenizer.ggml.tokens"]:
        keys[key] = keys["tokenizer.ggml.tokens"].index(text)
    elif isinstance(id, int) and 0 <= id < len(keys["tokenizer.ggml.tokens"]):
        keys[key] = id
    elif keys.get(key, 0) < 0:  # SentencePiece's way to say that there is none
        del keys[key]


def chat_template(folder: Path, settings: Settings) -> str | None:
    """From chat_template.jinja (transformers 5) or tokenizer_config.json; of several the default one."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text("utf-8")
    template = settings.values.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
