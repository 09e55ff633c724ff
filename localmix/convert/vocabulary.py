"""The tokenizer of a checkpoint folder as GGUF metadata: pieces, special ids, what ends an answer.

Several files of a folder speak about tokens. tokenizer.json says what transformers does, so it is read where there is
one; tokenizer.model has pieces and scores, and what was added or renamed later is in tokenizer_config.json or
added_tokens.json.
"""

from pathlib import Path
from typing import Any

import numpy as np

from localmix.convert.chat_template import chat_template
from localmix.convert.safetensors import read_json
from localmix.convert.settings import Settings
from localmix.errors import FileFormatError
from localmix.gguf.metadata import Writable
from localmix.tokenizer import json_file, spm_file, tekken_file
from localmix.tokenizer.rules import HABITS, KEY, Rules
from localmix.tokenizer.types import TokenType

Keys = dict[str, Any]
SHOWN = 5  # of a list of tokens


def read_vocabulary(folder: Path, size: int, config: Settings, notes: list[str]) -> dict[str, Writable]:
    """The `tokenizer.*` metadata for a model of `size` tokens; `notes` gets what the user should know."""
    settings = declared(folder)
    keys = read_pieces(folder, config, settings, notes)
    fit(keys, size, folder, notes)
    for name in ("bos", "eos", "pad"):
        set_special(keys, name, config, settings)
    set_ends(keys, config, optional(folder / "generation_config.json"))
    template = chat_template(folder, settings, notes)
    return keys | ({"tokenizer.chat_template": template} if template else {})


def declared(folder: Path) -> Settings:
    """tokenizer_config.json; old ones have their special and added tokens in files of their own."""
    settings = optional(folder / "tokenizer_config.json")
    if settings.values.get("added_tokens_decoder"):
        return settings
    values = settings.values | optional(folder / "special_tokens_map.json").values
    special = json_file.special_tokens(values)
    entries = optional(folder / "added_tokens.json").values
    decoder = {str(id): {"content": text, "special": text in special} for text, id in entries.items()}
    return Settings(settings.path, values | ({"added_tokens_decoder": decoder} if decoder else {}))


def read_pieces(folder: Path, config: Settings, settings: Settings, notes: list[str]) -> Keys:
    path = folder / "tokenizer.json"
    if path.is_file():
        keys = json_file.read(path, settings.values, str(config.values.get("model_type", "")), notes)
        tell(notes, keys)
        if settings.flag("add_bos_token", False) and not keys["tokenizer.ggml.add_bos_token"]:
            notes.append("texts start without BOS: tokenizer_config.json asks for it, tokenizer.json does not add it")
        return keys
    paths = [folder / "tokenizer.model", *sorted(folder.glob("tokenizer.model.v*"), reverse=True)]  # as Mistral's own
    for path in paths:
        if path.is_file():
            return sentencepiece(path, config, settings, notes)
    path = folder / "tekken.json"
    if path.is_file():
        return tekken_file.read(path)
    raise FileFormatError(f"{folder}: holds no tokenizer.json, tokenizer.model or tekken.json")


def sentencepiece(path: Path, config: Settings, settings: Settings, notes: list[str]) -> Keys:
    """The pieces of a tokenizer.model, with those that were added and those that have new names."""
    keys = spm_file.read(path)
    add_tokens(keys, added_tokens(settings), notes)
    declare_special(keys, json_file.special_tokens(settings.values))
    keys["tokenizer.ggml.add_bos_token"] = settings.flag("add_bos_token", True)
    keys["tokenizer.ggml.add_eos_token"] = settings.flag("add_eos_token", False)
    first_only = not settings.flag("legacy", not starts_anew(config, settings))
    rules = Rules(first_space_only=first_only, habits=habits(settings))
    return keys | ({KEY: rules.to_text()} if rules != Rules() else {})


def habits(settings: Settings) -> dict[str, str]:
    """What added tokens do to the text around them, where they do anything."""
    entries = settings.within("added_tokens_decoder").values.items()
    letters = {
        id: "".join(letter for name, letter in HABITS.items() if entry.get(name))
        for id, entry in entries
        if isinstance(entry, dict)
    }
    return {id: found for id, found in letters.items() if found}


def starts_anew(config: Settings, settings: Settings) -> bool:
    """Whether transformers 5 reads the pieces with its LlamaTokenizer, which puts one space before a whole text."""
    return settings.values.get("tokenizer_class") in ("LlamaTokenizer", "LlamaTokenizerFast") and (
        config.values.get("model_type") == "llama"
    )


def optional(path: Path) -> Settings:
    return Settings(path, read_json(path) if path.is_file() else {})


def added_tokens(settings: Settings) -> dict[int, tuple[str, bool]]:
    """Tokens beside the pieces: id to text and whether it is a control token."""
    try:
        return {
            int(id): (entry["content"], bool(entry.get("special", False)))
            for id, entry in settings.within("added_tokens_decoder").values.items()
        }
    except (ValueError, KeyError, TypeError):
        raise FileFormatError(f"{settings.path}: added_tokens_decoder: expected an object of ids and tokens") from None


def add_tokens(keys: Keys, added: dict[int, tuple[str, bool]], notes: list[str]) -> None:
    """Give ids that exist the name and the type that was given to them later, and append the others."""
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    count = len(tokens)
    reserved = (TokenType.UNKNOWN, TokenType.CONTROL)  # as SentencePiece marks them itself
    for id in sorted(id for id in added if id < count):
        text, special = added[id]
        if text != tokens[id] or types[id] not in reserved:
            types[id] = TokenType.CONTROL if special else TokenType.USER_DEFINED
        tokens[id] = text
    beyond = range(count, max(added, default=-1) + 1)
    extend(keys, [new_token(id, added) for id in beyond])
    tell(notes, keys)


def declare_special(keys: Keys, texts: list[str]) -> None:
    """Tokens that are named as special, bos_token and the like: pieces that exist, or new ones behind all others."""
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    for text in texts:
        if text in tokens and types[tokens.index(text)] != TokenType.UNKNOWN:
            types[tokens.index(text)] = TokenType.CONTROL
    extend(keys, [(text, TokenType.CONTROL) for text in texts if text not in tokens])


def new_token(id: int, added: dict[int, tuple[str, bool]]) -> tuple[str, TokenType]:
    if id not in added:
        return f"[UNUSED{id}]", TokenType.UNUSED
    text, special = added[id]
    return text, TokenType.CONTROL if special else TokenType.USER_DEFINED


def tell(notes: list[str], keys: Keys) -> None:
    """A note about ids that no file names."""
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    gaps = [id for id in np.flatnonzero(types == TokenType.UNUSED).tolist() if tokens[id] == f"[UNUSED{id}]"]
    if gaps:
        notes.append(f"no file names the tokens {shown(gaps)}: they are kept as unused tokens")


def shown(values: list[Any]) -> str:
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more


def fit(keys: Keys, size: int, folder: Path, notes: list[str]) -> None:
    """As many tokens as the embedding has rows: padding that nothing produces, or without what was added in vain."""
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    count = len(tokens)
    extend(keys, [(f"[PAD{id}]", TokenType.UNUSED) for id in range(count, size)])
    beyond = range(size, count)
    if any(types[id] in (TokenType.NORMAL, TokenType.BYTE) for id in beyond):
        raise FileFormatError(f"{folder}: the tokenizer has {count} tokens, config.json says vocab_size {size}")
    if beyond:
        notes.append(f"the model has no rows for the added tokens {shown(tokens[size:])}: they are left out")
        for key in ("tokens", "token_type", "scores"):
            if f"tokenizer.ggml.{key}" in keys:
                keys[f"tokenizer.ggml.{key}"] = keys[f"tokenizer.ggml.{key}"][:size]


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
    count = len(keys["tokenizer.ggml.tokens"])
    ids = ids_of(config, f"{name}_token_id", count)
    if text in keys["tokenizer.ggml.tokens"]:
        keys[key] = keys["tokenizer.ggml.tokens"].index(text)
    elif ids and key not in keys:
        keys[key] = ids[0]
    elif not 0 <= keys.get(key, 0) < count:  # -1 is SentencePiece's way to say that there is none
        del keys[key]


def ids_of(settings: Settings, key: str, count: int) -> list[int]:
    """One id or a list of them, those that the vocabulary has."""
    value = settings.values.get(key)
    values = value if isinstance(value, list) else [value]
    return [id for id in values if isinstance(id, int) and not isinstance(id, bool) and 0 <= id < count]


def set_ends(keys: Keys, config: Settings, generation: Settings) -> None:
    """Every id that ends an answer: of tokenizer_config.json, config.json and generation_config.json.

    llama.cpp knows two beside eos; the array is Ollama's way to name them all.
    """
    count = len(keys["tokenizer.ggml.tokens"])
    own = keys.get("tokenizer.ggml.eos_token_id")
    named = [*ids_of(generation, "eos_token_id", count), *ids_of(config, "eos_token_id", count)]
    ends = list(dict.fromkeys([*([] if own is None else [own]), *named]))
    for name, id in zip(("eos", "eot", "eom"), ends, strict=False):
        keys[f"tokenizer.ggml.{name}_token_id"] = id
    if len(ends) > 1:
        keys["tokenizer.ggml.eos_token_ids"] = np.array(ends, np.int32)
