"""What a tokenizer.json does to a text, as `rules`; and how near that is to what a GGUF file has words for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localmix.errors import UnsupportedError
from localmix.tokenizer.cuts import CUTS
from localmix.tokenizer.rules import Part, Rules

_WORDS = CUTS["gpt-2"].patterns[0]  # what ByteLevel cuts by
_SPACE = "▁"


def read(path: Path, content: Mapping[str, Any], settings: Mapping[str, Any], kind: str) -> Rules:
    """The rules; UnsupportedError: something that cannot be carried, by its name."""
    model = content["model"]
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise UnsupportedError(f"{path}: model.{key} is {model[key]!r}, which is not supported")
    normalizer, pre_tokenizer = _tidy(content.get("normalizer")), _tidy(content.get("pre_tokenizer"))
    types = {part.get("type") for part in parts([normalizer, pre_tokenizer])}
    raw = "ByteLevel" not in types
    steps = list(parts(content.get("decoder")))
    if raw and not model.get("byte_fallback") and not any(_writes_spaces(step) for step in steps):
        raise UnsupportedError(
            f"{path}: spells text neither in bytes (ByteLevel, byte_fallback) nor with {_SPACE} for spaces: "
            f"its steps are {', '.join(sorted(map(str, types))) or 'none'}"
        )
    strips = any(step.get("type") == "Strip" and step.get("start") for step in steps)
    if raw and settings.get("tokenizer_class", "").removesuffix("Fast") == "LlamaTokenizer" and kind == "llama":
        # transformers 5 builds these anew and looks at no normalizer; `legacy` decides where the space goes.
        scheme = "always" if settings.get("legacy", False) else "first"
        scheme = scheme if settings.get("add_prefix_space", True) in (True, None) else "never"
        normalizer = None
        pre_tokenizer = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False}
        strips = scheme != "never"
    begin, end = _around(content.get("post_processor"), path)
    return Rules(
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        raw=raw,
        ignore_merges=bool(model.get("ignore_merges")),
        unknown=model.get("unk_token"),
        fuse_unknown=bool(model.get("fuse_unk")),
        strips_space=strips or any(_adds_space(step) for step in steps),
        begin=begin,
        end=end,
    )


def parts(value: Any) -> Iterator[Part]:
    """Every object with a type in a step of a tokenizer.json, sequences opened."""
    if isinstance(value, list):
        for each in value:
            yield from parts(each)
    elif isinstance(value, dict):
        inner = value.get("normalizers") or value.get("pretokenizers") or value.get("decoders")
        inner = inner or value.get("processors")
        if inner is not None:
            yield from parts(inner)
        elif value.get("type") != "Sequence":
            yield value


def _tidy(value: Any) -> Part | None:
    """A step without sequences that hold nothing."""
    return value if list(parts(value)) else None


def _writes_spaces(step: Part) -> bool:
    if step.get("type") == "Replace":
        return step.get("pattern", {}).get("String") == _SPACE
    return step.get("type") == "Metaspace"


def _adds_space(step: Part) -> bool:
    return step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") != "never"


def _around(post_processor: Any, path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that stand before and after every text."""
    begin: list[int] = []
    end: list[int] = []
    for step in parts(post_processor):
        if step.get("type") == "TemplateProcessing":
            ids = {name: token["ids"] for name, token in step.get("special_tokens", {}).items()}
            target = begin
            for item in step.get("single", []):
                if "Sequence" in item:
                    target = end
                else:
                    target += ids[item["SpecialToken"]["id"]]
        elif step.get("type") in ("BertProcessing", "RobertaProcessing"):
            begin, end = [*begin, step["cls"][1]], [step["sep"][1], *end]
        elif step.get("type") != "ByteLevel":
            raise UnsupportedError(f"{path}: post_processor {step.get('type')} is not supported")
    return tuple(begin), tuple(end)


def patterns(rules: Rules) -> tuple[str, ...] | None:
    """The regular expressions that cut a byte-level text; None where something else happens, too."""
    found: list[str] = []
    for step in parts(rules.pre_tokenizer):
        kind = step.get("type")
        behaviour = step.get("behavior"), bool(step.get("invert"))
        if kind == "Split" and behaviour in (("Isolated", False), ("Removed", True)) and "Regex" in step["pattern"]:
            found.append(step["pattern"]["Regex"])
        elif kind == "Digits" and step.get("individual_digits"):
            found.append(r"\p{N}")
        elif kind == "ByteLevel" and not step.get("add_prefix_space"):
            found += [_WORDS] if step.get("use_regex", True) else []
        else:
            return None
    return tuple(pattern.replace("\r", r"\r").replace("\n", r"\n") for pattern in found)


def alike(rules: Rules, other: Rules) -> bool:
    """Whether words are cut alike, so that llama.cpp reads the file as well as it reads any of its kind.

    It composes no Unicode whatever a file says; so with and without NFC it is the same to it.
    """
    composed = ({"type": "NFC"}, None)
    cut = patterns(rules)
    return cut is not None and cut == patterns(other) and rules.normalizer in composed


def same(rules: Rules, other: Rules) -> bool:
    """Whether the two give the same ids for every text."""
    if not alike(rules, other) or rules.unknown is not None:
        return False
    return (rules.normalizer, rules.ignore_merges) == (other.normalizer, other.ignore_merges)


def space_prefix(rules: Rules) -> bool | None:
    """Whether a text gets a space in front, of rules that do nothing else to it; None where they do."""
    prefix = False
    for step in parts([rules.normalizer, rules.pre_tokenizer]):
        kind, pattern = step.get("type"), step.get("pattern")
        if kind == "Prepend" and step.get("prepend") == _SPACE:
            prefix = True
        elif kind == "Metaspace" and step.get("replacement") == _SPACE and step.get("split", True) is False:
            prefix = prefix or _adds_space(step)
        elif not (kind in ("Replace", "Split") and pattern == {"String": " "}):
            return None
    return prefix
