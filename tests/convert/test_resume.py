"""Conversions that are cut off: by a kill, by Ctrl-C, by a full disk; what is left, and what comes of it."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import checkpoint_folders
import numpy as np
import pytest
from command_line import environment
from random_checkpoints import SPECS, weights

from localmix import convert
from localmix.convert import stream
from localmix.convert.plan import Plan
from localmix.errors import LocalmixError
from quant.recipe import RECIPES

MIXTRAL = SPECS[0]
HERE = Path(__file__).parent


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "out.gguf"


def plan_of(source: Path, recipe: str = "Q8_0") -> Plan:
    return convert.make_plan(convert.open_checkpoint(source), RECIPES[recipe])


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


def cut_off(plan: Plan, out: Path, monkeypatch: pytest.MonkeyPatch, after: int = 9) -> None:
    """Write until Ctrl-C comes, after some chunks."""
    quantize, count = stream.quantize, iter(range(10**6))

    def interrupted(*job: object) -> np.ndarray:
        if next(count) == after:
            raise KeyboardInterrupt
        return quantize(*job)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(stream, "CHUNK", 500)
        patch.setattr(stream, "quantize", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert.write(plan, out, threads=1)
    assert names(out) == ["out.gguf.partial", "out.gguf.partial.log"]


def test_killed_ten_times_and_the_same_file_each_time(source: Path, out: Path) -> None:
    seed = np.random.default_rng().integers(1 << 30)
    command = [sys.executable, HERE / "kill_and_resume.py", source, out, str(seed)]
    done = subprocess.run(command, capture_output=True, env=environment(OPENBLAS_NUM_THREADS="1"), check=False)
    assert done.returncode == 0, (seed, done.stderr.decode())
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) == 11
    assert {digest for digest, _, _ in runs} == {runs[0][0]}, seed
    assert sum(found > 0 for _, found, _ in runs) > 0, f"no run had something to resume: {runs}, seed {seed}"


def test_ctrl_c_leaves_what_is_resumed(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = out.with_name("whole.gguf")
    convert.write(plan_of(source), whole, threads=1)
    expected = whole.read_bytes()
    whole.unlink()
    cut_off(plan_of(source), out, monkeypatch)
    done: list[int] = []
    convert.write(plan_of(source), out, threads=2, progress=done.append, resume=True)
    assert names(out) == ["out.gguf"]
    assert out.read_bytes() == expected
    assert done[0] > 0  # what was there already
    assert sum(done) == plan_of(source).nbytes


def test_resume_with_nothing_to_resume_begins(source: Path, out: Path) -> None:
    convert.write(plan_of(source), out, threads=1, resume=True)
    assert names(out) == ["out.gguf"]


def other_weights(source: Path) -> Plan:
    tensors = weights(MIXTRAL)
    tensors["model.layers.1.block_sparse_moe.experts.2.w1.weight"][3, 7] += 1
    checkpoint_folders.safetensors(source / "model.safetensors", tensors)
    return plan_of(source)


def other_recipe(source: Path) -> Plan:
    return plan_of(source, "Q5_0")


def touched(source: Path) -> Plan:
    os.utime(source / "model.safetensors", (1, 1))
    return plan_of(source)


def other_importance(source: Path) -> Plan:
    seen = {"blk.1.attn_q.weight": np.ones(MIXTRAL.width, np.float32)}
    return convert.make_plan(convert.open_checkpoint(source), RECIPES["Q8_0"], importance=seen)


@pytest.mark.parametrize("other", [other_weights, other_recipe, touched, other_importance])
def test_only_the_same_is_resumed(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, other: Callable[[Path], Plan]
) -> None:
    cut_off(plan_of(source), out, monkeypatch)
    before = out.with_name("out.gguf.partial").read_bytes()
    with pytest.raises(LocalmixError, match="was started from another source, with other options"):
        convert.write(other(source), out, threads=1, resume=True)
    assert out.with_name("out.gguf.partial").read_bytes() == before  # the work is not lost
    convert.write(other(source), out, threads=1)  # anew
    assert names(out) == ["out.gguf"]


@pytest.mark.parametrize("text", ["", "half a li", "{identity}\n", "{identity}\n99999999999\n", "{identity}\nx\n\n12"])
def test_a_damaged_log_costs_work_and_nothing_else(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    cut_off(plan_of(source), out, monkeypatch)
    log = out.with_name("out.gguf.partial.log")
    log.write_text(text.format(identity=log.read_text().split()[0]))
    convert.write(plan_of(source), out, threads=1, resume=True)
    convert.write(plan_of(source), out.with_name("whole.gguf"), threads=1)
    assert out.read_bytes() == out.with_name("whole.gguf").read_bytes()


def test_a_full_disk_leaves_nothing_behind(source: Path, out: Path) -> None:
    """A limit on the size of files stands in for the disk: what does not fit is refused by the system."""
    plan = plan_of(source)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (plan.nbytes // 2, limits[1]))
    try:
        with pytest.raises(LocalmixError, match=r"out\.gguf: .* the disk is full; \d+ bytes are needed"):
            convert.write(plan, out, threads=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(out) == []


def test_two_at_once_do_not_mix(source: Path, out: Path) -> None:
    refused = []

    def second(nbytes: int) -> None:
        if nbytes and not refused:
            with pytest.raises(LocalmixError, match="another process is writing it"):
                convert.write(plan_of(source), out, threads=1)
            refused.append(True)

    convert.write(plan_of(source), out, threads=1, progress=second)
    assert refused
    convert.write(plan_of(source), out.with_name("alone.gguf"), threads=1)
    assert out.read_bytes() == out.with_name("alone.gguf").read_bytes()
