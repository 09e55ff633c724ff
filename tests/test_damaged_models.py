"""Every number of a model's metadata mutated by name: it answers, or the error names the file and the key.

In a child process with little memory and a deadline. tests/gguf/test_damage.py does the same for a file's fields.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import F32, write

import localmix
from localmix import gguf
from localmix.errors import LocalmixError

# Numbers that change nothing that can be wrong, or wrong only by its size.
HARMLESS = ("general.file_type", "llama.vocab_size", "tokenizer.ggml.add_eos_token", "llama.rope.freq_base")


def mutations(path: Path) -> Iterator[tuple[str, str, Any]]:
    """(key, NumPy type, value): 0, 1, 2^31, 2^63, -1 and the value ± 1; for floats also what is no number."""
    for key, typed in gguf.open(path).typed_metadata.items():
        now = np.asarray(typed)
        if now.ndim or now.dtype.kind not in "iuf":
            continue
        if now.dtype.kind == "f":
            yield from ((key, now.dtype.str, value) for value in ("0", "-1", "1e30", "nan", "inf"))
            continue
        for value in (0, 1, 1 << 31, 1 << 63, -1, int(now) - 1, int(now) + 1):
            yield key, "<i8" if value < 0 else "<u8", value


@pytest.fixture(scope="module")
def outcomes(upcycled_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "sound.gguf").write_bytes(upcycled_path.read_bytes())
    (folder / "damages.json").write_text(json.dumps(list(mutations(upcycled_path))))
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("answer_damaged.py"), "sound.gguf", "damages.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    return [json.loads(line) for line in child.stdout.splitlines()]


def test_a_damaged_number_is_refused_or_harmless(outcomes: list[dict[str, Any]]) -> None:
    assert len({o["key"] for o in outcomes}) > 12
    for o in outcomes:
        assert o["outcome"] in ("sound", "LocalmixError"), o
        assert o["seconds"] < 2, o
        if o["outcome"] == "LocalmixError" and not o["message"].startswith("the prompt has"):
            assert o["message"].startswith("damaged.gguf: "), o
            assert o["message"].isprintable(), o
            assert len(o["message"]) < 300, o


def test_sizes_that_contradict_the_tensors_are_refused(outcomes: list[dict[str, Any]]) -> None:
    for o in outcomes:
        if o["value"] in (1 << 31, 1 << 63, -1) and o["key"] not in HARMLESS:
            assert o["outcome"] == "LocalmixError", o


OF_ANOTHER_TYPE = [
    ("llama.block_count", np.float32(5), "expected a whole number"),
    ("llama.context_length", np.float32(512), "expected a whole number"),
    ("llama.attention.head_count", np.float32(8), "expected a whole number"),
    ("llama.attention.head_count", "8", "expected one number for all layers"),
    ("llama.attention.head_count", np.array([], np.uint32), "expected one number for all layers"),
    ("llama.attention.sliding_window", "8", "expected one number"),
    ("llama.attention.sliding_window", np.array([8, 9], np.uint32), "expected one number"),
    ("llama.attention.clamp_kqv", np.zeros(2, np.float32), "not supported"),
    ("llama.rope.scaling.factor", np.array([1, 2], np.float32), "expected one number"),
    ("tokenizer.ggml.tokens", np.uint32(3), "not a list of strings"),
    ("tokenizer.ggml.tokens", ["a", "b"], "has 2 tokens, token_embd.weight 512 rows"),
    ("tokenizer.chat_template", np.uint32(3), "expected a string"),
]


@pytest.mark.parametrize(("key", "value", "message"), OF_ANOTHER_TYPE)
def test_a_value_of_another_type_is_refused_by_name(
    upcycled_path: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    sound = gguf.open(upcycled_path)
    metadata = sound.typed_metadata | {"llama.rope.scaling.type": "linear", key: value}
    path = write(tmp_path / "x.gguf", metadata, {name: (t.format, t.data) for name, t in sound.tensors.items()})
    with pytest.raises(LocalmixError, match=f"x.gguf: .*{key}.*{message}"):
        localmix.load(path, "reference")


@pytest.mark.parametrize("factor", [0, -1, np.nan, np.inf])
def test_rotation_is_divided_by_numbers_above_zero(upcycled_path: Path, tmp_path: Path, factor: float) -> None:
    sound = gguf.open(upcycled_path)
    tensors = {name: (t.format, t.data) for name, t in sound.tensors.items()}
    tensors["rope_freqs.weight"] = (F32, np.full(4, factor, np.float32))
    path = write(tmp_path / "x.gguf", sound.typed_metadata, tensors)
    with pytest.raises(LocalmixError, match=r"x\.gguf: tensor rope_freqs\.weight: expected finite numbers above 0"):
        localmix.load(path, "reference")
