"""One set of operations, three implementations: the protocol that `arch/` is written against, and the choice.

Shapes: T tokens · D model · H heads · K kv heads · d head size · E experts · A active · F hidden · V vocabulary.
Operations are coarse, so that an implementation may fuse; `decoder` lets it take a whole network at once.
"""

import platform
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from localmix.engine.batch import Batch
from localmix.engine.weights import Experts, Weight
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from localmix.answer.sampling import Sampler
    from localmix.arch.decoder import Network
    from localmix.backends.watch import Inputs, Pause, Watch

Array = Any  # the backend's own array type: only `to_numpy` leaves it

# What a step may have as its method `choices`: see `localmix.engine.context.Context.choices`. Takes the cache, the
# sequence, its ids (it appends to them), the logits after them, and how to choose.
Chooses = Callable[[Any, int, list[int], "NDArray", "Sampler"], Iterator[int]]


class Step(Protocol):
    """One network, ready to run."""

    def __call__(
        self, batch: Batch, cache: Any, watch: "Watch | None" = None, pause: "Pause | None" = None
    ) -> "NDArray":
        """One forward pass: logits (W, V) of the wanted rows. `watch` is told the experts chosen.

        `pause` is called between layers; not by a pass of one token, which is over soon.
        """


class Backend(Protocol):
    """What a network needs. `x` is (T, D) float32 unless said otherwise."""

    name: str
    isa: str  # the instruction set or device in use, as printed to the user
    threads: int
    spares: bool  # whether of a prompt's last layer only keys and values are computed for tokens without logits

    def embed(self, weight: Weight, ids: "NDArray") -> Array: ...  # (T, D)
    def norm(self, x: Array, weight: "NDArray", eps: float) -> Array: ...  # (T, D)
    def linear(self, x: Array, *weights: Weight) -> tuple[Array, ...]: ...  # one (T, out) for each weight
    def rope(self, x: Array, positions: "NDArray", inverse: "NDArray") -> Array: ...  # (T, heads, d)
    def attend(self, q: Array, k: Array, v: Array, cache: Any, layer: int, batch: Batch) -> Array: ...  # (T, H·d)
    def route(self, x: Array, gate: "NDArray", active: int) -> tuple[Array, Array]: ...  # (T, A), (T, A)
    def experts(self, x: Array, chosen: Array, mix: Array, experts: Experts) -> Array: ...  # (T, D)
    def swiglu(self, x: Array, gate: Weight, up: Weight, down: Weight) -> Array: ...  # (T, D)
    def take(self, x: Array, rows: "NDArray") -> Array: ...  # (W, D)
    def to_numpy(self, x: Array) -> "NDArray": ...  # float32; the one point where host and device meet
    def cache(self, network: "Network", context: int, kv: str) -> Any: ...
    def decoder(self, network: "Network", inputs: "Inputs | None" = None) -> Step: ...  # inputs: see `watch.Inputs`


NAMES = ("numba", "mlx", "reference")
MOST_THREADS = 512  # as llama.cpp; thousands would take the memory and all the time to start


def pick(name: str | None = None, threads: int | None = None) -> Backend:
    """The backend called `name`, or the best one for this machine. `threads`: None is one a physical core."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise LocalmixError(
            f"{threads} threads: expected 1 to {MOST_THREADS}, best as many as there are physical cores"
        )
    name = name or best()
    if name == "reference":
        from localmix.backends.reference import Reference

        return Reference()
    if name == "numba":
        from localmix.backends.numba.backend import NumbaBackend

        return NumbaBackend(threads)
    if name == "mlx":
        return _mlx(threads)
    raise LocalmixError(f"unknown backend {name!r}: expected one of {', '.join(NAMES)}")


def best() -> str:
    """MLX on Apple silicon, which has it as a dependency; elsewhere, and where it was taken out, Numba."""
    return "mlx" if _apple() and find_spec("mlx") is not None else "numba"


def no_mlx() -> str | None:
    """Why the mlx backend cannot be used on this machine, and how it can; None: it can."""
    system, machine = platform.system(), platform.machine()
    if not _apple() and system != "Linux":
        return f"MLX is made for Apple silicon and Linux, this is {system} {machine}"
    if find_spec("mlx") is None:
        return f"the mlx backend is not installed: pip install 'localmix[mlx]'{_cuda()}"
    try:
        import_module("localmix.backends.mlx.backend")
    except ImportError as error:  # on Linux mlx comes without its library, mlx[cpu] and mlx[cuda13] with one each
        return f"mlx does not load ({error}): pip install --force-reinstall 'localmix[mlx]'{_cuda()}"
    return None


def _cuda() -> str:
    return "" if _apple() else ", or 'localmix[cuda]' where there is an NVIDIA GPU"


def _apple() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def _mlx(threads: int | None) -> Backend:
    reason = no_mlx()
    if reason is not None:
        raise LocalmixError(f"{reason}, or use --backend numba")
    if threads is not None:
        raise LocalmixError(f"{threads} threads with the mlx backend, which has its own: leave -t out")
    from localmix.backends.mlx.backend import MlxBackend

    return MlxBackend()
