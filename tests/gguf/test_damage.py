"""Damaged files: every field mutated by name, every truncation, random bytes flipped.

Each opens soundly or raises a one-line LocalmixError, in a child process with 64 MiB and a deadline; one child
serves all cases.
"""

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handmade import small

SOUND = small()
Damage = tuple[str, list[list[Any]], int | None]


def mutations() -> Iterator[Damage]:
    """Each field of the header set to 0, 1, 2^31, 2^63 and its value ± 1, as far as its width goes."""
    for name, (offset, width) in SOUND.fields.items():
        if name == "magic" or name.endswith(" text"):
            continue
        now = int.from_bytes(SOUND.raw[offset : offset + width], "little")
        for value in (0, 1, 1 << 31, 1 << 63, (1 << 8 * width) - 1, now - 1, now + 1):
            if value != now and 0 <= value < 1 << 8 * width:
                yield f"{name} = {value}", [[offset, value.to_bytes(width, "little").hex()]], None


def truncations() -> Iterator[Damage]:
    for length in range(len(SOUND.raw)):
        yield f"first {length} bytes", [], length


def flips(count: int = 1500) -> Iterator[Damage]:
    """One to four bytes of the header replaced at random, always the same way."""
    chance = random.Random(20231211)
    header = len(SOUND.raw) - 192
    for index in range(count):
        edits = [[chance.randrange(header), chance.randbytes(1).hex()] for _ in range(chance.randint(1, 4))]
        yield f"flip {index}: {edits}", edits, None


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """label -> what happened, for all cases."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "sound.gguf").write_bytes(SOUND.raw)
    (folder / "damages.json").write_text(json.dumps([*mutations(), *truncations(), *flips()]))
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("open_damaged.py"), "sound.gguf", "damages.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    return {line["label"]: line for line in lines}


def assert_fine(outcome: dict[str, Any]) -> None:
    assert outcome["outcome"] in ("sound", "LocalmixError"), outcome
    assert outcome["seconds"] < 2, outcome
    if outcome["outcome"] == "LocalmixError":
        assert outcome["message"].startswith("damaged.gguf: "), outcome
        assert outcome["message"].isprintable(), outcome
        assert len(outcome["message"]) < 400, outcome


@pytest.mark.parametrize("kind", [mutations, truncations, flips])
def test_damage_opens_soundly_or_is_refused(kind: Any, outcomes: dict[str, dict[str, Any]]) -> None:
    cases = [label for label, *_ in kind()]
    assert len(cases) > 300
    for label in cases:
        assert_fine(outcomes[label])


def test_every_truncation_of_header_or_weights_is_refused(outcomes: dict[str, dict[str, Any]]) -> None:
    end_of_weights = len(SOUND.raw) - 12  # the last tensor ends 20 bytes into its 32
    for length in range(len(SOUND.raw)):
        expected = "sound" if length >= end_of_weights else "LocalmixError"
        assert outcomes[f"first {length} bytes"]["outcome"] == expected, length


# What the message must name: the damage, and words of the message.
NAMED = {
    "version = 0": "version: found 0, expected 2 or 3",
    "version = 1": "version: found 1, expected 2 or 3",
    "version = 4": "version: found 4, expected 2 or 3",
    f"version = {1 << 31}": "big-endian",
    f"tensor count = {1 << 31}": "tensor count: found 2147483648 items",
    f"tensor count = {1 << 63}": "tensor count: found 9223372036854775808 items",
    f"metadata count = {1 << 63}": "metadata count: found 9223372036854775808 items",
    f"an.u8 key length = {1 << 31}": "metadata key 2: length: found 2147483648 bytes",
    f"an.u8 type = {1 << 31}": "an.u8: type: found 2147483648, expected a value type from 0 to 12",
    f"general.architecture length = {1 << 63}": "general.architecture: length: found 9223372036854775808 bytes",
    f"tokenizer.ggml.tokens count = {1 << 31}": "tokenizer.ggml.tokens: found 2147483648 items",
    f"tokenizer.ggml.tokens[1] length = {1 << 63}": "tokenizer.ggml.tokens[1]: length: found",
    f"tokenizer.ggml.scores count = {1 << 63}": "tokenizer.ggml.scores: length: found 9223372036854775808 items",
    f"tokenizer.ggml.scores item type = {1 << 31}": "tokenizer.ggml.scores: type of the items: found 2147483648",
    f"some.nested count = {1 << 31}": "some.nested: length: found 2147483648 items",
    "a.bool = 2": "a.bool: found 2, expected 0 or 1 for a bool",
    "an.u8 key length = 0": "metadata key 2: length: found 0, expected 1 or more",
    "general.alignment = 0": "general.alignment: found 0, expected a power of two",
    "general.alignment = 1": "general.alignment: found 1, expected a power of two",
    "general.alignment = 33": "general.alignment: found 33, expected a power of two",
    f"general.alignment = {1 << 31}": "general.alignment: found 2147483648, expected a power of two",
    "token_embd.weight dims = 0": "'token_embd.weight': number of dimensions: found 0, expected 1 to 4",
    f"token_embd.weight dims = {1 << 31}": "number of dimensions: found 2147483648, expected 1 to 4",
    f"token_embd.weight dim 0 = {1 << 31}": "tensor 'token_embd.weight': found bytes",
    f"token_embd.weight dim 1 = {1 << 63}": "tensor 'token_embd.weight': dimensions: found [2, 9223372036854775808",
    "token_embd.weight dim 0 = 33": "dimension 0: found 33, expected a multiple of 32, the block of q4_0",
    f"blk.0.empty.weight dim 1 = {1 << 31}": "tensor 'blk.0.empty.weight': found bytes",
    f"token_embd.weight format = {1 << 31}": "type: found number 2147483648, expected one of f32, ",
    f"output_norm.weight offset = {1 << 63}": "tensor 'output_norm.weight': found bytes",
    "output_norm.weight offset = 0": "inside tensor 'token_embd.weight', expected",
    "output_norm.weight offset = 1": "offset: found 1, expected a multiple of the alignment, 32",
    f"output_norm.weight offset = {1 << 31}": "expected an end within the file's",
}


@pytest.mark.parametrize("label", NAMED)
def test_the_message_names_field_found_and_expected(label: str, outcomes: dict[str, dict[str, Any]]) -> None:
    assert NAMED[label] in outcomes[label]["message"]


def test_the_undamaged_file_is_sound(tmp_path: Path) -> None:
    """Otherwise every test above would pass for the wrong reason."""
    from localmix import gguf

    path = tmp_path / "sound.gguf"
    path.write_bytes(SOUND.raw)
    assert len(gguf.open(path).tensors) == 3
    assert struct.unpack_from("<I", SOUND.raw, SOUND.fields["version"][0]) == (3,)
