"""Whatever a family's numbers are, a file is read or refused in one line, by those that load it and by `info`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_families import make

from localmix import gguf, network
from localmix.errors import LocalmixError
from localmix.measure import inventory

VALUES: tuple[Any, ...] = (
    0, 1, -1, 1 << 31, (1 << 63) - 1, 0.0, 1.0, 1e38, float("nan"), True, "yarn", [], ["a"], np.arange(3),
)  # fmt: skip
MORE = ("attention.sliding_window", "attention.sliding_window_pattern", "rope.scaling.yarn_beta_fast")


@pytest.mark.parametrize("family", ["gpt-oss", "granitemoe_shared", "qwen2moe"])
def test_numbers_that_cannot_be_are_refused_or_read(family: str, folder: Path) -> None:
    file = gguf.open(make(folder / f"numbers-{family}.gguf", family))
    prefix = f"{file.metadata['general.architecture']}."
    sound = dict(file.metadata)
    refused = 0
    for key in [*(key for key in sound if key.startswith(prefix)), *(prefix + key for key in MORE)]:
        for value in VALUES:
            file.metadata[key] = value
            assert inventory.take(file).bytes == file_bytes(file)
            refused += is_refused(file)
        file.metadata.clear()
        file.metadata.update(sound)
    assert refused > 150


def is_refused(file: gguf.File) -> bool:
    try:
        network.load(file)
    except LocalmixError:
        return True
    return False


def file_bytes(file: gguf.File) -> int:
    return sum(tensor.nbytes for tensor in file.tensors.values())
