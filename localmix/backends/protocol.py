"""What a backend is: operations that equations call, caches, and steps that run a whole network.

Watching a network compute: the experts it chooses, and what its matrices are multiplied with. A pass that is watched
computes the same numbers; nothing is kept of one that is not.
Shapes: L layers · T tokens · W wanted rows · A active experts · V vocabulary.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from localmix.engine.batch import Batch
from localmix.engine.weights import Weight
from localmix.errors import UnsupportedError
from quant import FORMATS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from localmix.answer.sampling import Sampler
    from localmix.network.decoder import Network
    from localmix.stream.pool import Pool
    from localmix.stream.slots import Slots

# Called after a pass with the experts (L, T, A) int32 that each layer chose for each token of the batch, the one of
# most weight first. A is 0 for a network without experts.
Watch = Callable[["NDArray[np.int32]"], None]

# Called between the layers of a pass: what it raises ends the pass, which then leaves no trace.
Pause = Callable[[], None]

# Called in a pass with matrices and the rows (n, width) float32 that all of them are multiplied with, which are only
# lent. An expert's rows are those of the tokens that chose it.
Inputs = Callable[[Sequence[Weight], "NDArray[np.float32]"], None]

# What a step may have as its method `in_parts`: the same pass, which yields between layers, so that passes of other
# sequences may be run meanwhile, and returns its logits. Takes the batch, the cache, and who watches.
InParts = Callable[[Batch, Any, Watch | None], Generator[None, None, "NDArray"]]

# What a step may have as its method `choices`: see `localmix.engine.context.Context.choices`. Takes the cache, the
# sequence, its ids (it appends to them), the logits after them, and how to choose.
Chooses = Callable[[Any, int, list[int], "NDArray", "Sampler"], Iterator[int]]


class Cache(Protocol):
    """Keys and values of many sequences, known by numbers. What else a backend's steps do with it is its own affair.

    A layer with a window may have lost what no coming token sees: a sequence is cut or shared only where `can_share`.
    """

    @property
    def context(self) -> int: ...  # most positions of one sequence
    @property
    def nbytes(self) -> int: ...  # in use
    @property
    def position_bytes(self) -> int: ...  # of one position in all layers
    @property
    def page_bytes(self) -> int: ...  # that a sequence grows by at a time

    def new(self) -> int: ...  # an empty sequence
    def free(self, sequence: int) -> None: ...
    def length(self, sequence: int) -> int: ...
    def can_share(self, sequence: int, length: int) -> bool: ...  # whether tokens could follow these first positions
    def share(self, sequence: int, length: int) -> int: ...  # a new sequence that begins with them
    def truncate(self, sequence: int, length: int) -> None: ...  # 0, or as `share`
    def first(self, sequence: int, layer: int) -> int: ...  # the first position that a layer has not lost
    def needs(self, length: int) -> int: ...  # bytes of a sequence, at most, while it is computed
    def reserve(self, batch: Batch) -> None: ...  # room for a pass, which counts from `commit` on
    def commit(self, batch: Batch) -> None: ...
    def fill(self, sequence: int, length: int) -> None: ...  # with random numbers, to measure at a depth
    def dump(self, sequence: int) -> "NDArray": ...  # (layers, 2, K, n, ·) as stored; what was lost is anything
    def restore(self, kv: "NDArray") -> int: ...  # ValueError: such keys and values are no cache's of this kind


class Step(Protocol):
    """One network, ready to run."""

    def __call__(self, batch: Batch, cache: Any, watch: Watch | None = None, pause: Pause | None = None) -> "NDArray":
        """One forward pass: logits (W, V) of the wanted rows. `watch` is told the experts chosen.

        `pause` is called between layers; not by a pass of one token, which is over soon.
        """


class Backend(Protocol):
    """One way to compute."""

    name: str
    isa: str  # the instruction set or device in use, as printed to the user
    threads: int
    mapped: bool  # whether weights are read where a file is mapped, not from copies made at loading
    spares: bool  # whether of a prompt's last layer only keys and values are computed for tokens without logits

    @property
    def streams(self) -> bool: ...  # whether experts may be in a pool that is filled from the disk
    @property
    def room(self) -> int | None: ...  # bytes that its device leaves of the machine's memory; None: all

    def cache(self, network: "Network", context: int, kv: str) -> Cache: ...
    def held(self, format: str, weights: int) -> int: ...  # bytes that so many weights of a format take here

    def slots(self, network: "Network", kv: str = "f16") -> "Slots | None":
        """Where a pool of its experts keeps them; None: as files have them, in the pool's own memory. What else takes
        memory before a first pass, of keys and values of this kind, is done.
        """

    def repeats(self, network: "Network") -> bool:
        """Whether tokens of a batch that are `apart` have the bits that each has in a pass of its own."""

    def decoder(self, network: "Network", inputs: Inputs | None = None, pool: "Pool | None" = None) -> Step:
        """`pool`: where the experts are that a router chooses; None: all in the memory that weights are views of.

        LocalmixError, UnsupportedError: what this backend does not carry out, by name.
        """


def as_stored(format: str, weights: int) -> int:
    """Bytes that so many weights take in a file, and on backends that read them there."""
    return round(weights * FORMATS[format].bits / 8)


def refuse_pool(backend: str, pool: "Pool | None") -> None:
    """UnsupportedError, of a backend that has all experts in its memory."""
    if pool is not None:
        raise UnsupportedError(f"the {backend} backend does not stream experts from the disk: use --backend numba")
