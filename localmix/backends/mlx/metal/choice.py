"""Which formats are multiplied straight from the file's blocks on this machine: where our kernels are right and faster.

Tried when MLX is first used on a GPU, and remembered for this GPU, macOS, MLX and source: a machine then always
computes the same way. What is not used is multiplied by MLX's own kernels; `localmix doctor` says why.
"""

import hashlib
import platform
import sys
from dataclasses import asdict, dataclass

import mlx.core as mx

from localmix.backends.mlx import remembered
from localmix.backends.mlx.metal import source, trial
from localmix.backends.mlx.metal.kernels import Kernels, MetalKernels
from localmix.backends.mlx.metal.lanes import TABLE


@dataclass(frozen=True)
class Verdict:
    """On the kernels of one format. `right`: they run, and compute what they should; `why` is for people."""

    right: bool
    used: bool
    why: str


# Written before a trial: what stays there if Metal ends the process.
_UNFINISHED = Verdict(False, False, "the program ended while they were being tried")

_FILE = "metal"


def kernels() -> dict[str, Kernels]:
    """Those that are used here; none without a GPU of Apple."""
    return {name: MetalKernels(name) for name, verdict in verdicts().items() if verdict.used}


def verdicts() -> dict[str, Verdict]:
    """On every format; none without a GPU of Apple. What was never tried here is tried now, and said so on stderr."""
    if not mx.metal.is_available() or mx.default_device() == mx.cpu:
        return {}
    known = _known()
    missing = [name for name in TABLE if name not in known]
    if missing:
        print("localmix: trying Metal kernels on this GPU, once", file=sys.stderr, flush=True)
    for name in missing:
        known[name] = judge(name)
        if not known[name].right:
            print(f"localmix: Metal kernels of {name} are not used: {known[name].why}", file=sys.stderr, flush=True)
    return {name: known[name] for name in TABLE}


def judge(name: str) -> Verdict:
    """Try the kernels of one format, and remember the verdict."""
    _keep(name, _UNFINISHED)
    try:
        tried = trial.attempt(name, MetalKernels(name))
    except (RuntimeError, ValueError) as error:  # Metal's compiler, or MLX
        verdict = Verdict(False, False, " ".join(str(error).split()))
    else:
        outcome = "wrong" if not tried.passed else "faster" if tried.faster else "slower, not used"
        verdict = Verdict(tried.passed, tried.passed and tried.faster, f"{outcome}: {tried.text}")
    _keep(name, verdict)
    return verdict


def _machine() -> str:
    text = "".join(source.header(lanes) for lanes in TABLE.values()) + source.product() + source.expand()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return remembered.machine(f"macOS {platform.mac_ver()[0]}", digest)


def _keep(name: str, verdict: Verdict) -> None:
    remembered.keep(_FILE, _machine(), {name: asdict(verdict)})


def _known() -> dict[str, Verdict]:
    """Verdicts on formats; none from a file that is damaged."""
    try:
        return {name: Verdict(**one) for name, one in remembered.recall(_FILE, _machine()).items()}
    except TypeError:
        return {}
