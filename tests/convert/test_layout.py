"""Files laid out for streaming: the same tensors, in another order and at whole pages."""

from pathlib import Path

import checkpoint_folders
import pytest
from random_checkpoints import SPECS
from typer.testing import CliRunner

from localmix import gguf
from localmix.cli.app import program
from localmix.errors import LocalmixError
from localmix.stream.slots import expert_bytes

PAGE = 4096


def quantize(*arguments: object) -> None:
    result = CliRunner().invoke(program(), ["quantize", *map(str, arguments), "-q"])
    if isinstance(result.exception, LocalmixError):
        raise result.exception
    assert result.exit_code == 0, result.output


def test_experts_lie_together_at_whole_pages(tmp_path: Path) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "tiny", SPECS[0])
    plain, laid, again = (tmp_path / f"{name}.gguf" for name in ("plain", "laid", "again"))
    quantize(folder, plain, "-f", "F16")
    quantize(folder, laid, "-f", "F16", "--layout", "streaming")
    quantize(laid, again, "-f", "F16")
    files = [gguf.open(path) for path in (plain, laid, again)]
    tensors = files[1].tensors
    assert files[1].metadata["general.alignment"] == PAGE
    assert "general.alignment" not in files[2].metadata  # a layout is asked for anew
    for file in files[1:]:
        assert file.tensors.keys() == files[0].tensors.keys()
        assert all((tensor.data == files[0].tensors[name].data).all() for name, tensor in file.tensors.items())
    assert all(tensor.extent.start % PAGE == 0 for tensor in tensors.values())
    experts = [f"blk.{i}.ffn_{role}_exps.weight" for i in range(2) for role in ("gate", "up", "down")]
    assert list(tensors)[-6:] == experts
    ends = [tensors[name].extent.end for name in experts]
    assert [tensors[name].extent.start for name in experts[1:]] == [end + -end % PAGE for end in ends[:-1]]


def test_whole_pages_need_no_room_around_them(tmp_path: Path) -> None:
    extents = [gguf.Extent(tmp_path, 4 * PAGE * part, 3 * PAGE) for part in range(3)]
    assert expert_bytes([extents]) == 9 * PAGE
    assert expert_bytes([[gguf.Extent(tmp_path, one.start + 32, one.size) for one in extents]]) == 12 * PAGE


def test_an_unknown_layout_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LocalmixError, match="--layout fast: expected streaming"):
        quantize(tmp_path, "--layout", "fast")
