"""Instruction sets: each that this machine can run gives the right results; the choice; code for ARM."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as binding
import pytest

from localmix.backends.numba.machine import host, isa
from localmix.errors import LocalmixError

HERE = Path(__file__).parent
# Some formats stand for all: zero points of every size, signed codes, minima, looked-up levels, single bits, exponents,
# floats.
SOME = "q4_0 or q5_0 or q2_k or q6_k or q8_0 or iq4_xs or mxfp4 or f16- or [f16]"
FEW = f"not test_formats or (({SOME}) and not test_many_tokens) or (test_many_tokens and (q4_0 or q2_k or q8_0))"


@pytest.mark.parametrize("name", [one.name for one in isa.runnable() if one != isa.active()])
def test_kernels(name: str) -> None:
    files = [str(HERE / f) for f in ("test_formats.py", "test_words.py", "test_attention.py")]
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-k", FEW, *files]
    child = subprocess.run(
        command, env=os.environ | {"LOCALMIX_ISA": name}, cwd=HERE.parents[2], capture_output=True, text=True
    )
    assert child.returncode == 0, child.stdout[-4000:]


def test_the_best_is_chosen_and_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALMIX_ISA", raising=False)
    assert isa.active() == isa.runnable()[0]
    monkeypatch.setenv("LOCALMIX_ISA", "plain")
    assert isa.active().name == "plain"


def test_what_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = next(one.name for one in isa.ALL if one not in isa.runnable())
    for name in (lacking, "sse9"):
        monkeypatch.setenv("LOCALMIX_ISA", name)
        with pytest.raises(LocalmixError, match=f"LOCALMIX_ISA={name}: this machine has .*plain"):
            isa.active()


def test_what_linux_tells_is_what_llvm_finds() -> None:
    has = binding.get_host_cpu_features()
    needed = {feature for one in isa.ALL for feature in one.needs}
    assert host.features() & needed == {feature for feature in needed if has.get(feature)}


def test_an_unknown_processor_runs_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALMIX_ISA", raising=False)
    monkeypatch.setattr(host, "features", lambda: frozenset({"v"}))
    assert isa.active().name == "plain"


ANYWHERE = """
import sys
from pkgutil import resolve_name
from localmix.backends.numba.machine import isa
isa.aim(next(one for one in isa.ALL if one.name == sys.argv[1]))
from localmix.backends.numba.machine import compiler
target = compiler.machine(isa.active())
_, module = compiler.lower(resolve_name("localmix.backends.numba.formats.q8_0.gemv"), 1)
compiler.optimize(module, target)
print(target.emit_assembly(module))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")
@pytest.mark.parametrize(
    ("name", "has", "lacks"), [("avx2", "%ymm", "%zmm|vpdp|%[xy]mm(1[6-9]|[23][0-9])"), ("avx512", "%zmm", "vpdp")]
)
def test_code_for_a_set_has_its_instructions_and_no_others(name: str, has: str, lacks: str) -> None:
    """Whatever else this machine has: such code is put into wheels."""
    child = subprocess.run([sys.executable, "-c", ANYWHERE, name], capture_output=True, text=True, check=True)
    assert re.search(has, child.stdout)
    assert not re.search(lacks, child.stdout)


CROSS = """
import sys
import llvmlite.binding as llvm
from localmix.backends.numba.machine import isa
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
isa.runnable = lambda: [one for one in isa.ALL if one.name in ("neon-dotprod", "plain")]
isa.target = lambda one: ("generic", "+neon,+dotprod")
from pkgutil import resolve_name
from localmix.backends.numba.machine import compiler
target = compiler.machine(isa.active(), "aarch64-unknown-linux-gnu")
for name in sys.argv[1:]:
    _, ir = compiler.lower(resolve_name("localmix.backends.numba." + name), 1)
    compiler.optimize(ir, target)
    print("==", name)
    print(target.emit_assembly(ir))
"""


def test_code_for_arm() -> None:
    """Dot products are instructions, and nothing is left to functions that need not be there."""
    names = [
        "formats.q4_0.gemv",
        "formats.q4_k.gemm",
        "formats.q8_0.gemv",
        "formats.q6_k.gemv",
        "formats.iq4_xs.rows",
        "formats.f16.gemv",
        "attend.kernel.f16",
    ]
    child = subprocess.run(
        [sys.executable, "-c", CROSS, *names],
        env=os.environ | {"LOCALMIX_ISA": "neon-dotprod"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-4000:]
    kernels = dict(part.split("\n", 1) for part in child.stdout.split("== ")[1:])
    assert list(kernels) == names
    for name, code in kernels.items():
        assert not re.search(r"^\s+(bl|blr)\s", code, re.MULTILINE), name
        if name.startswith("formats.q"):
            assert re.search(r"^\s+[us]dot\s", code, re.MULTILINE), name
        assert ("tbl" in code) or name != "formats.iq4_xs.rows"
