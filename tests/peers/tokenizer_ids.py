"""Whole vocabularies beside llama.cpp's tokenizer: ids on real and random text, and the time to load.

usage: python tests/peers/tokenizer_ids.py VOCABULARY.gguf ... [--text FILE]
needs: llama-cpp-python

Known differences, where Hugging Face's tokenizers agree with ours: Qwen composes its text (Unicode NFC), and SmolLM2
has no token for some bytes, around which merges go on here and stop there.
"""

import argparse
import ctypes
import random
import time
from collections.abc import Callable
from pathlib import Path

from llama_cpp import llama_cpp as library

from localmix import gguf, tokenizer

WORDS = ["'s", "'LL", "\r\n", "\n\n", "   ", "\t", "abc", "ABC", "Abc", "123", "1234567", "<|im_end|>", "</s>", "/"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("vocabularies", nargs="+", type=Path)
    parser.add_argument("--text", type=Path, help="a text file, compared line by line")
    arguments = parser.parse_args()
    lines = arguments.text.read_text().split("\n") if arguments.text else []
    texts = [*lines, *random_texts(3000)]
    library.llama_backend_init()
    for path in arguments.vocabularies:
        compare(path, texts)


def random_texts(count: int) -> list[str]:
    rng = random.Random(0)
    blocks = (range(1, 0x250), range(0x300, 0x370), range(0x600, 0x700), range(0x1F300, 0x1F650), range(0x4E00, 0x4F00))
    letters = [chr(code) for block in blocks for code in block]
    return [
        "".join(rng.choice(WORDS + [" "] * 3 if rng.random() < 0.4 else letters) for _ in range(rng.randrange(40)))
        for _ in range(count)
    ]


def compare(path: Path, texts: list[str]) -> None:
    metadata = gguf.open(path).metadata
    start = time.perf_counter()
    ours = tokenizer.from_metadata(metadata)
    loaded = time.perf_counter() - start
    encode = llama_cpp(path)
    different = [text for text in texts if ours.encode(text, bos=False) != encode(text)]
    print(f"{path.name}: loaded in {loaded * 1000:.0f} ms, {len(different)} of {len(texts)} texts differ")
    for text in different[:3]:
        print(f"  {text!r}\n    ours      {ours.encode(text, bos=False)}\n    llama.cpp {encode(text)}")


def llama_cpp(path: Path) -> Callable[[str], list[int]]:
    options = library.llama_model_default_params()
    options.vocab_only = True
    vocabulary = library.llama_model_get_vocab(library.llama_model_load_from_file(str(path).encode(), options))

    def encode(text: str) -> list[int]:
        raw = text.encode()
        buffer = (ctypes.c_int32 * (len(raw) + 8))()
        count = library.llama_tokenize(vocabulary, raw, len(raw), buffer, len(buffer), False, False)
        return list(buffer[:count])

    return encode


if __name__ == "__main__":
    main()
