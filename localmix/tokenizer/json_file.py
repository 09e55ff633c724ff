"""A tokenizer.json of the `tokenizers` library as the `tokenizer.ggml.*` metadata of a GGUF.

The library itself says which tokens there are, after those of tokenizer_config.json were added as `transformers`
does it. Two kinds are read: byte-level BPE, and BPE that spells a space "▁" (SentencePiece models in this clothing).
What no name of `cuts` says about the text goes into `rules`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

from localmix.errors import FileFormatError, UnsupportedError
from localmix.tokenizer import json_rules
from localmix.tokenizer.bpe import byte_alphabet
from localmix.tokenizer.cuts import CUTS
from localmix.tokenizer.rules import HABITS, KEY, OWN, Rules, rules_of_cut
from localmix.tokenizer.types import TokenType, is_byte

Keys = dict[str, Any]


def read(path: Path, settings: Mapping[str, Any], kind: str, notes: list[str]) -> Keys:
    """The metadata: tokens, types, merges, and rules where they are needed. `settings` are tokenizer_config.json.

    `kind` is the model_type of config.json; `notes` gets what the user should know. FileFormatError: damaged;
    UnsupportedError: another kind of vocabulary.
    """
    content = _parsed(path)
    model = content["model"]
    try:
        library = Library.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise FileFormatError(f"{path}: the tokenizers library refuses it: {error}") from None
    add_tokens(library, settings)
    rules = json_rules.read(path, content, settings, kind)
    tokens, types = _tokens(library, rules, _ids(library, content, settings))
    _tell_normalized(library, notes)
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    if lost := model["vocab"].keys() - set(tokens):  # names that went with their ids to others
        merges = [merge for merge in merges if lost.isdisjoint((*merge, "".join(merge)))]
    found: Keys = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
    }
    if any(" " in piece for merge in merges for piece in merge):
        raise UnsupportedError(f"{path}: merges tokens with spaces in them, which a GGUF file cannot say")
    rules, around = _around(replace(rules, habits=_habits(library, tokens)), tokens, settings)
    if not rules.raw and set(byte_alphabet()) <= set(tokens):
        rules = replace(rules, unknown=None, fuse_unknown=False)  # there is nothing that cannot be spelled
    return found | around | (_raw_keys(rules, tokens, types, merges) if rules.raw else _byte_keys(rules))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        kind = content["model"].get("type") or ("BPE" if "merges" in content["model"] else "without a type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path}: not a file of the tokenizers library: {error!r}") from None
    if kind != "BPE":
        raise UnsupportedError(f"{path}: the vocabulary is {kind}, expected BPE")
    if not isinstance(content["model"].get("merges"), list):
        raise FileFormatError(f"{path}: model.merges is missing, expected a list")
    return content


def add_tokens(library: Library, settings: Mapping[str, Any]) -> None:
    """Add what tokenizer_config.json declares, as transformers 5 does: tokens that are known already keep their id."""
    entries = settings.get("added_tokens_decoder") or {}
    decoder = [added(entry) for _, entry in sorted(entries.items(), key=lambda item: int(item[0]))]
    before = library.get_added_tokens_decoder().values()
    same = {repr(token) for token in before}
    new = [token for token in decoder if repr(token) not in same]
    texts = {token.content for token in before} | {token.content for token in new}
    named = special_tokens(settings)
    for token in new:
        token.special = token.special or token.content in named
    new += [AddedToken(text, special=True) for text in named if text not in texts]
    library.add_tokens(new)
    library.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in named])


def added(entry: Any) -> AddedToken:
    """A token as JSON files describe it."""
    if isinstance(entry, str):
        return AddedToken(entry, special=True, normalized=False)
    known = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(entry["content"], **{key: bool(entry[key]) for key in known if key in entry})


def special_tokens(settings: Mapping[str, Any]) -> list[str]:
    """The texts of bos_token and its kin, and of the additional ones, each once."""
    values = [value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str | dict)]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key) or []
        values += more.values() if isinstance(more, dict) else more
    texts = [value.get("content") if isinstance(value, dict) else value for value in values]
    return list(dict.fromkeys(text for text in texts if isinstance(text, str) and text))


def _ids(library: Library, content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, int]:
    """Every token and its id. An added one has the id that a file gives it: that is its row of the embedding.

    The library numbers tokens on without gaps and never gives an old id a new name; what no file numbers follows.
    """
    found: dict[str, int] = dict(content["model"]["vocab"])
    given = {entry["content"]: entry["id"] for entry in content.get("added_tokens") or []}
    taken = set(given.values())  # where the two files disagree, tokenizer.json is right
    for id, entry in (settings.get("added_tokens_decoder") or {}).items():
        if int(id) not in taken:
            given.setdefault(added(entry).content, int(id))
    named = {id: text for text, id in given.items() if text not in found}
    found = {text: id for text, id in found.items() if id not in named} | {text: id for id, text in named.items()}
    following = max(found.values(), default=-1) + 1
    numbered = sorted((id, text) for text, id in library.get_vocab(with_added_tokens=True).items())
    for _, text in numbered:
        if text not in found and text not in content["model"]["vocab"]:
            found[text] = following
            following += 1
    return found


def _tokens(library: Library, rules: Rules, ids: Mapping[str, int]) -> tuple[list[str], Any]:
    """Every token and its type (V,); ids that nobody has are filled."""
    count = max(ids.values()) + 1
    tokens = [f"[UNUSED{id}]" for id in range(count)]
    types = np.full(count, TokenType.UNUSED, np.int32)
    for text, id in ids.items():
        tokens[id], types[id] = text, TokenType.NORMAL
        if rules.raw and is_byte(text):
            types[id] = TokenType.BYTE
    if rules.unknown is not None and rules.unknown in ids:
        types[ids[rules.unknown]] = TokenType.UNKNOWN
    for token in library.get_added_tokens_decoder().values():
        if token.content in ids:
            types[ids[token.content]] = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
    return tokens, types


def _habits(library: Library, tokens: list[str]) -> dict[str, str]:
    """What added tokens do to the text around them, where they do anything."""
    found = {}
    for token in library.get_added_tokens_decoder().values():
        letters = "".join(letter for name, letter in HABITS.items() if getattr(token, name))
        if letters and token.content in tokens:
            found[str(tokens.index(token.content))] = letters
    return found


def _tell_normalized(library: Library, notes: list[str]) -> None:
    """A note about tokens that the library looks for in a text which is normalized already, in other letters."""
    normalizer = library.normalizer
    texts = [token.content for token in library.get_added_tokens_decoder().values() if token.normalized]
    others = [text for text in texts if normalizer is not None and normalizer.normalize_str(text) != text]
    if others:
        notes.append(
            f"{len(others)} added tokens are found as they are spelled, the first is {others[0]}: "
            "transformers looks for them after the text is normalized"
        )


def _around(rules: Rules, tokens: list[str], settings: Mapping[str, Any]) -> tuple[Rules, Keys]:
    """What stands around a text, as flags where bos and eos are all there is to it."""
    keys: Keys = {}
    for name, ids in (("bos", rules.begin), ("eos", rules.end)):
        text = settings.get(f"{name}_token")
        text = text.get("content") if isinstance(text, dict) else text
        own = tokens.index(text) if text in tokens else ids[0] if len(ids) == 1 else None
        if own is not None:
            keys[f"tokenizer.ggml.{name}_token_id"] = own
        keys[f"tokenizer.ggml.add_{name}_token"] = bool(ids)
        if ids in ((), (own,)):
            rules = replace(rules, begin=()) if name == "bos" else replace(rules, end=())
    return rules, keys


def _byte_keys(rules: Rules) -> Keys:
    """Byte-level: the name of the cut, for llama.cpp too, and the rules if that name does not say all."""
    keys: Keys = {"tokenizer.ggml.model": "gpt2"}
    plain = replace(rules, habits={}, begin=(), end=())
    names = [name for name, cut in CUTS.items() if json_rules.same(plain, rules_of_cut(cut))]
    if names and plain == rules:
        return keys | {"tokenizer.ggml.pre": names[0]}
    near = names or [name for name, cut in CUTS.items() if json_rules.alike(plain, rules_of_cut(cut))]
    return keys | {"tokenizer.ggml.pre": near[0] if near else OWN, KEY: rules.to_text()}


def _raw_keys(rules: Rules, tokens: list[str], types: Any, merges: list[Any]) -> Keys:
    """As SentencePiece has it, for llama.cpp: the pieces are ranked by the first merge that makes them."""
    ids = {text: id for id, text in enumerate(tokens)}
    scores = np.full(len(tokens), -1e9, np.float32)
    rank = 0
    for left, right in merges:
        id = ids.get(left + right)
        if id is not None and scores[id] == np.float32(-1e9):
            scores[id] = -rank
            rank += 1
    scores[types != TokenType.NORMAL] = 0
    prefix = json_rules.space_prefix(rules)
    keys: Keys = {
        "tokenizer.ggml.model": "gpt2" if prefix is None else "llama",
        "tokenizer.ggml.pre": OWN if prefix is None else "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": bool(prefix),
        KEY: rules.to_text(),
    }
    if rules.unknown in ids:
        keys["tokenizer.ggml.unknown_token_id"] = ids[rules.unknown]
    return keys
