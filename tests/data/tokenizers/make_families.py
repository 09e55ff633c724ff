"""Small tokenizers set up as those of the model families are, and odd ones; what transformers makes of texts and chats.

usage: PYTHONPATH=.:tests python tests/data/tokenizers/make_families.py [--folders OUT]
needs: transformers, tokenizers; writes families.json.xz beside itself, and with OUT the folders to look at

Each family is a folder of a few hundred tokens, trained on the awkward texts of the tests: the normalizer, the
pre-tokenizer, the post-processor and the kinds of added tokens are those of the family's tokenizer.json.
"""

import argparse
import json
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward_texts
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from localmix.tokenizer.cuts import CUTS

HERE = Path(__file__).parent
TEXTS = 200
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PHI = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|assistant|>\n"
PLAIN = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
Setup = dict[str, Any]


def special(*texts: str, **flags: bool) -> list[AddedToken]:
    return [AddedToken(text, special=True, **({"normalized": False} | flags)) for text in texts]


def level(*patterns: str, digits: bool = False, prefix: bool = False) -> Any:
    """ByteLevel behind splits, as byte-level tokenizer.json files have it."""
    splits: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    splits += [pre_tokenizers.Digits(individual_digits=True)] * digits
    own = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not patterns)
    return pre_tokenizers.Sequence([*splits, own]) if splits else own


def around(begin: str = "", end: str = "") -> Callable[[Tokenizer], Any]:
    """A post-processor that puts tokens before and after a text."""

    def make(tokenizer: Tokenizer) -> Any:
        named = [(text, tokenizer.token_to_id(text)) for text in f"{begin} {end}".split()]
        single = f"{begin} $A {end}".strip()
        return processors.TemplateProcessing(single=single, pair=f"{single} $B:1", special_tokens=named)

    return make


BYTES: Setup = {"pre": level(), "model": {}, "decoder": decoders.ByteLevel()}
SPACES = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
STRIPPED = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
RAW: Setup = {
    "pre": None,
    "model": {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"},
    "decoder": SPACES,
    "added": special("<unk>", "<s>", "</s>"),
    "config": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": PLAIN},
}
METASPACE = pre_tokenizers.Metaspace("▁", "first", split=False)
LLAMA = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
IM = special("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}
BOTH = special("<|bos|>", "<|eos|>")
NAMED = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "chat_template": PLAIN}


def cut(name: str, **more: Any) -> Setup:
    """A byte-level family by its row."""
    row = CUTS[name]
    normalizer = {"normalizer": normalizers.NFC()} if row.nfc else {}
    return BYTES | {"pre": level(*row.patterns), "model": {"ignore_merges": row.ignore_merges}} | normalizer | more


FAMILIES: dict[str, Setup] = {
    "llama-3": cut(
        "llama-bpe",
        added=special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
        post=around("<|begin_of_text|>"),
        config={"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": PLAIN},
    ),
    "qwen-2": cut("qwen2", added=IM, config=QWEN),
    "qwen-3.5": cut("qwen35", added=[*IM, AddedToken("<think>", normalized=False)], config=QWEN),
    "deepseek-r1-qwen": cut("deepseek-r1-qwen", added=IM, config=QWEN),
    "glm-4": cut(
        "glm4",
        added=special("<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>"),
        post=around("[gMASK] <sop>"),
        config={
            "eos_token": "<|user|>",
            "chat_template": "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}",
        },
    ),
    "gpt-oss": cut("gpt-4o", added=special("<|startoftext|>", "<|return|>", "<|end|>", "<|call|>")),
    "llama-4": cut("llama4", added=[*BOTH, *special("<|eot|>")], post=around("<|bos|>"), config=NAMED),
    "tekken": cut("tekken", added=special("<s>", "</s>", "[INST]", "[/INST]"), post=around("<s>")),
    "olmo": cut("olmo", added=IM, config=QWEN),
    "refact": BYTES | {"pre": level(CUTS["refact"].patterns[1], digits=True), "added": IM, "config": QWEN},
    "starcoder": BYTES | {"pre": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level()]), "added": IM},
    "deepseek-llm": cut("deepseek-llm", added=BOTH, config=NAMED, post=around("<|bos|>")),
    "deepseek-coder": BYTES
    | {"pre": level(*CUTS["deepseek-coder"].patterns[:-1], digits=True), "added": BOTH, "config": NAMED},
    "deepseek-v3": cut("deepseek-v3", added=[*BOTH, *special("<｜User｜>", "<｜Assistant｜>", normalized=True)]),
    "laguna": cut("laguna", added=IM, config=QWEN),
    "gpt-2": BYTES | {"added": special("<|endoftext|>"), "config": {"eos_token": "<|endoftext|>"}},
    "llama-2": RAW | {"normalizer": LLAMA, "decoder": STRIPPED, "post": around("<s>")},
    "mistral": RAW | {"pre": METASPACE, "decoder": STRIPPED, "post": around("<s>")},
    "gemma": RAW
    | {
        "normalizer": normalizers.Replace(" ", "▁"),
        "pre": pre_tokenizers.Split(" ", "merged_with_previous"),
        "added": [*RAW["added"], AddedToken("\n\n", normalized=False), AddedToken("▁▁", normalized=False)],
        "post": around("<s>"),
    },
    "phi-3": RAW
    | {
        "normalizer": LLAMA,
        "decoder": STRIPPED,
        "added": [*RAW["added"], *special("<|user|>", "<|end|>", "<|assistant|>", rstrip=True)],
        "config": RAW["config"] | {"chat_template": PHI},
    },
    # What is rare: normalizers, prefixes, ends, and added tokens with habits.
    "nfkc": BYTES | {"normalizer": normalizers.NFKC(), "added": BOTH, "config": NAMED},
    "lowercase": BYTES
    | {
        "normalizer": normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]),
        "added": BOTH,
        "config": NAMED,
    },
    "strip": cut("qwen2", normalizer=normalizers.Strip(), added=BOTH, config=NAMED),
    "replace": cut("gpt-2", normalizer=normalizers.Replace(Regex(r"\s+"), " "), added=BOTH, config=NAMED),
    "prepend": BYTES | {"normalizer": normalizers.Prepend("x"), "added": BOTH, "config": NAMED},
    "prefix space": BYTES | {"pre": level(prefix=True), "added": BOTH, "config": NAMED},
    "prefix space behind a cut": BYTES | {"pre": level(CUTS["qwen2"].patterns[0], prefix=True), "added": BOTH},
    "another cut": BYTES | {"pre": level(r"\p{L}+|\p{N}{1,2}|[^\p{L}\p{N}]+"), "added": BOTH, "config": NAMED},
    "end": BYTES | {"added": BOTH, "config": NAMED, "post": around(end="<|eos|>")},
    "begin and end": BYTES | {"added": BOTH, "config": NAMED, "post": around("<|bos|>", "<|eos|>")},
    "begins with another": BYTES | {"added": [*BOTH, *special("<|go|>")], "config": NAMED, "post": around("<|go|>")},
    "habits": BYTES
    | {
        "added": [
            *BOTH,
            AddedToken("<mask>", special=True, lstrip=True, normalized=False),
            AddedToken("<|left|>", special=True, rstrip=True, normalized=False),
            AddedToken("cat", single_word=True, normalized=False),
        ],
        "config": NAMED,
        "special": ["<mask>", "<|left|>", "cat", " cat ", "concat"],
    },
    "metaspace always": RAW | {"pre": pre_tokenizers.Metaspace("▁", "always", split=False), "decoder": STRIPPED},
    "metaspace split": RAW | {"pre": pre_tokenizers.Metaspace("▁", "always"), "decoder": decoders.Metaspace()},
    "raw nfkc": RAW | {"normalizer": normalizers.Sequence([normalizers.NFKC(), LLAMA]), "decoder": STRIPPED},
    "no byte pieces": RAW
    | {"model": {"fuse_unk": True, "unk_token": "<unk>"}, "normalizer": LLAMA, "decoder": STRIPPED, "bytes": False},
    # Words of tokenizer_config.json about tokens.
    "declared later": BYTES
    | {
        "added": BOTH,
        "config": NAMED
        | {
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
            "pad_token": "<pad>",
            "chat_template": CHATML,
        },
        "special": ["<|im_start|>", "<|im_end|>", "<pad>"],
    },
    "decoder of added tokens": BYTES
    | {
        "added": BOTH,
        "config": NAMED | {"added_tokens_decoder": {"400": {"content": "<|tool|>", "special": True}}},
        "special": ["<|tool|>"],
    },
    "lines are tokens": BYTES
    | {"added": [*BOTH, *special("\n", "  "), AddedToken("HelloWorld", normalized=False)], "config": NAMED},
    "piece declared special": BYTES
    | {"added": BOTH, "config": NAMED | {"additional_special_tokens": ["the", "HelloWorld"]}, "special": ["the"]},
}


def train(setup: Setup) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**setup["model"]))
    if setup.get("normalizer"):
        tokenizer.normalizer = setup["normalizer"]
    if setup["pre"]:
        tokenizer.pre_tokenizer = setup["pre"]
    tokenizer.decoder = setup["decoder"]
    raw = setup["model"].get("unk_token") is not None
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256) if setup.get("bytes", True))] * raw
    alphabet = [] if raw else pre_tokenizers.ByteLevel.alphabet()
    size = 900 if raw else 400
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=first, limit_alphabet=300, show_progress=False
    )
    words = ["the cat sat on the mat", "HelloWorld, this is a test of 1234567 numbers!", "don't   stop\n\n  here"] * 40
    tokenizer.train_from_iterator([*words, *awkward_texts.texts(300, seed=7)], trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = []  # the trainer's own
    tokenizer = Tokenizer.from_str(json.dumps(content))
    for token in setup.get("added", []):
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    if setup.get("post"):
        tokenizer.post_processor = setup["post"](tokenizer)
    return tokenizer


def write(setup: Setup, folder: Path) -> dict[str, Any]:
    """The folder, and what transformers makes of the texts and chats in it."""
    folder.mkdir(parents=True)
    train(setup).save(str(folder / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | setup.get("config", {})
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    theirs = AutoTokenizer.from_pretrained(folder)
    special = setup.get("special", []) + [token.content for token in setup.get("added", [])]
    texts = awkward_texts.texts(TEXTS, special)
    ids = [theirs(text)["input_ids"] for text in texts]
    chats = None
    if theirs.chat_template:
        chats = [
            theirs.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False)
            for chat in awkward_texts.chats()
        ]
    files = {path.name: json.loads(path.read_text()) for path in folder.glob("tokenizer*.json")}
    rows = max(theirs.get_vocab().values()) + 1
    return {"files": files, "rows": rows, "special": special, "ids": ids, "chats": chats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folders", type=Path, help="where to keep the folders")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.folders or Path(scratch)
        found = {name: write(setup, out / name.replace(" ", "-")) for name, setup in FAMILIES.items()}
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    (HERE / "families.json.xz").write_bytes(lzma.compress(text.encode(), preset=9))


if __name__ == "__main__":
    main()
